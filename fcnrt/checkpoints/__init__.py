"""Any checkpoint file on disk -> what the network is, and its weights under canonical names.

Nothing in a file is ever executed, and memory is taken only once the file has been found to hold a network.
The steps: container (``containers``), state dict (``unwrap``), naming (``layouts``), shapes (``rewriting``,
``shapes``), spec (``recognition``, or ``own_format`` for files of fcnrt), weights (``weights``).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from fcnrt.checkpoints import own_format
from fcnrt.checkpoints.containers import read_container
from fcnrt.checkpoints.layout import Layout
from fcnrt.checkpoints.layouts import find_layout
from fcnrt.checkpoints.recognition import Recognition
from fcnrt.checkpoints.rewriting import Step, rewrite, shapes_after
from fcnrt.checkpoints.saying import Overrides, Said, check_overrides
from fcnrt.checkpoints.stored import StoredTensor
from fcnrt.checkpoints.unwrap import StateDict, unwrap
from fcnrt.checkpoints.weights import check_expansion, check_weights, read_weights
from fcnrt.checkpoints.wording import printable
from fcnrt.checkpoints.writers import write_pytorch_fcn, write_safetensors
from fcnrt.errors import CheckpointError, InputError
from fcnrt.preprocessing import Normalization
from fcnrt.spec import FORMAT_KEY, ModelSpec

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A network read from a file.

    Args:
        spec: What it is, and who says so (``spec.sources``).
        state_dict: float32, contiguous, on the CPU, by the parameter names of ``fcnrt.models``.
        container: Such as ``"torch zip"``, told by the first bytes.
        layout: The program whose naming it follows, such as ``"pytorch-fcn"``.
        notes: What was guessed and may be wrong; worth a warning.
        wrapping: What was taken off, outermost first: keys of training programs, prefixes of parameter names.
        stored_dtypes: The types that the weights have in the file.
        told: What had to be known to make the network's weights of the file's, and is none of its options: the
            ``threshold`` of a binary head.
    """

    spec: ModelSpec
    state_dict: dict[str, Tensor]
    container: str
    layout: str
    notes: tuple[str, ...]
    wrapping: tuple[str, ...] = ()
    stored_dtypes: tuple[str, ...] = ("float32",)
    told: Mapping[str, Any] = field(default_factory=dict)


def read_checkpoint(
    path: str | os.PathLike[str],
    *,
    arch: str | None = None,
    normalization: str | Normalization | None = None,
    classes: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
    registry: Overrides | None = None,
) -> Checkpoint:
    """Reads a file of torch.save (zip or legacy, a state dict or a whole module), of safetensors, of Caffe
    (``.caffemodel``) or of chainer (``.npz``), in any layout of ``layouts.LAYOUTS``.

    Args:
        path: The file. Its extension means nothing.
        arch: A name of ``fcnrt.models.ARCHITECTURES``, where the file cannot say or says it wrongly.
        normalization: A preset's name or a :class:`Normalization`, instead of the file's or the layout's.
        classes: One name per class, instead of the file's; those of the first head.
        options: Options of the architecture that no tensor tells, such as ``{"align_corners": True}``; their names are
            those of ``fcnrt.models.ARCHITECTURES[arch].options``, and ``threshold`` for a binary head of mmseg's.
        registry: What the registry of published files says of this one: taken before the file's name and defaults.

    Raises:
        CheckpointError: The file is missing, damaged, hostile, or not a network that fcnrt knows.
        InputError: An argument is of the wrong kind, an unknown name, or an option that the network does not have.
    """
    overrides = Overrides(arch, normalization, classes, {} if options is None else options)
    check_overrides(overrides)
    return _from_file(path, lambda file: _read(file, Path(path), overrides, registry or Overrides()))


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The weights in a file of any container, under the file's own names: what is no FCN yet.

    Counters of training steps are left out, as are prefixes of DataParallel and torch.compile.

    Args:
        path: The file. Its extension means nothing.

    Raises:
        CheckpointError: The file is missing, damaged, hostile, or holds no weights.
        InputError: ``path`` is none.
    """

    def read(file: BufferedReader) -> dict[str, Tensor]:
        size = os.fstat(file.fileno()).st_size
        state = unwrap(read_container(file, size).payload)
        tensors, _ = Layout("any", {}).canonical(state.tensors)
        check_weights(tensors, size)
        return read_weights(file, tensors)

    return _from_file(path, read)


def _from_file(path: str | os.PathLike[str], read: Callable[[BufferedReader], T]) -> T:
    """What ``read`` makes of the open file; errors name the file."""
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"the checkpoint is a {type(path).__name__}; expected the path of a file")
    try:
        with _open(Path(path)) as file:
            return read(file)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {printable(str(error))}") from error.__cause__
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error


def _open(path: Path) -> BufferedReader:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise CheckpointError("no such file; expected a checkpoint. Check the path") from None
    except ValueError as error:
        raise CheckpointError(f"it is no path ({error}); expected the path of a checkpoint") from None
    if stat.S_ISDIR(mode):
        raise CheckpointError("it is a directory; expected a checkpoint. Give the file inside it")
    if not stat.S_ISREG(mode):
        raise CheckpointError("it is not a regular file; expected a checkpoint. Copy it to disk first")
    return path.open("rb")


def _read(file: BufferedReader, path: Path, overrides: Overrides, registry: Overrides) -> Checkpoint:
    size = os.fstat(file.fileno()).st_size
    contents = read_container(file, size)
    state = unwrap(contents.payload)
    if FORMAT_KEY in contents.metadata:
        named = _own(state, contents.metadata, size, overrides)
    else:
        named = _published(state, size, Said(overrides, state.noted, path.name.lower(), registry))
    return Checkpoint(
        spec=named.spec,
        state_dict=rewrite(read_weights(file, named.tensors), named.steps),
        container=contents.container,
        layout=named.layout,
        notes=named.notes,
        wrapping=named.wrapping,
        stored_dtypes=tuple(sorted({tensor.dtype for tensor in named.tensors.values()})),
        told=named.told,
    )


@dataclass(frozen=True)
class _Named:
    """Everything but the weights: what is to be read, what is to be done with it, and what it is then."""

    spec: ModelSpec
    layout: str
    tensors: Mapping[str, StoredTensor]
    wrapping: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    notes: tuple[str, ...] = ()
    told: Mapping[str, Any] = field(default_factory=dict)


def _own(state: StateDict, metadata: Mapping[str, str], size: int, overrides: Overrides) -> _Named:
    tensors, _ = Layout(own_format.NAME, {}).canonical(state.tensors)
    check_weights(tensors, size)
    spec = own_format.own_spec(ModelSpec.from_metadata(metadata), _shapes(tensors), overrides)
    return _Named(spec, own_format.NAME, tensors, state.wrapping)


def _published(state: StateDict, size: int, said: Said) -> _Named:
    found = find_layout(state.tensors)
    tensors, left_out = found.layout.canonical(found.tensors)
    check_weights(tensors, size)
    rule = found.layout.rule(tensors)
    shapes = shapes_after(_shapes(tensors), rule.steps)
    check_expansion(shapes, size)
    recognition = Recognition(found.layout, rule, shapes, said)
    spec = recognition.spec()
    notes = (*recognition.notes, *found.notes, *left_out)
    wrapping = (*state.wrapping, found.prefix) if found.prefix else state.wrapping
    return _Named(spec, found.layout.name, tensors, wrapping, recognition.steps, notes, recognition.told)


def _shapes(tensors: Mapping[str, StoredTensor]) -> dict[str, tuple[int, ...]]:
    return {key: tensor.shape for key, tensor in tensors.items()}


__all__ = ["Checkpoint", "Overrides", "read_checkpoint", "read_state_dict", "write_pytorch_fcn", "write_safetensors"]
