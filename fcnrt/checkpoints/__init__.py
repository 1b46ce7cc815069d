"""Any checkpoint file on disk -> what the network is, and its weights under canonical names.

Nothing in a file is ever executed, and memory is taken only once the file has been found to hold a network.
The steps: container (``containers``), state dict (``unwrap``), naming (``layouts``), spec (``recognition``),
shapes (``shapes``), weights (``weights``).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from torch import Tensor

from fcnrt.checkpoints.containers import read_container
from fcnrt.checkpoints.layouts import find_layout
from fcnrt.checkpoints.recognition import Overrides, check_overrides, recognize
from fcnrt.checkpoints.unwrap import unwrap
from fcnrt.checkpoints.weights import read_weights
from fcnrt.checkpoints.writers import write_pytorch_fcn, write_safetensors
from fcnrt.errors import CheckpointError, InputError
from fcnrt.preprocessing import Normalization
from fcnrt.spec import FORMAT_KEY, ModelSpec


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
    """

    spec: ModelSpec
    state_dict: dict[str, Tensor]
    container: str
    layout: str
    notes: tuple[str, ...]
    wrapping: tuple[str, ...] = ()
    stored_dtypes: tuple[str, ...] = ("float32",)


def read_checkpoint(
    path: str | os.PathLike[str],
    *,
    arch: str | None = None,
    normalization: str | Normalization | None = None,
    classes: Sequence[str] | None = None,
) -> Checkpoint:
    """Reads a file of torch.save (zip or legacy) or of safetensors, in any layout of ``layouts.LAYOUTS``.

    Args:
        path: The file. Its extension means nothing.
        arch: A name of ``fcnrt.models.ARCHITECTURES``, where the file cannot say or says it wrongly.
        normalization: A preset's name or a :class:`Normalization`, instead of the file's or the layout's.
        classes: One name per class, instead of the file's.

    Raises:
        CheckpointError: The file is missing, damaged, hostile, or not a network that fcnrt knows.
        InputError: An argument is of the wrong kind, or an unknown name.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"the checkpoint is a {type(path).__name__}; expected the path of a file")
    overrides = Overrides(arch, normalization, classes)
    check_overrides(overrides)
    try:
        with _open(Path(path)) as file:
            return _read(file, Path(path), overrides)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error.__cause__
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


def _read(file: BufferedReader, path: Path, overrides: Overrides) -> Checkpoint:
    size = os.fstat(file.fileno()).st_size
    container, contents = read_container(file, size)
    state = unwrap(contents.payload)
    layout = find_layout(state.tensors)
    tensors = layout.canonical(state.tensors)
    said = ModelSpec.from_metadata(contents.metadata) if FORMAT_KEY in contents.metadata else None
    spec, notes = recognize(layout, tensors, path=path, said=said, trainer_arch=state.arch, overrides=overrides)
    return Checkpoint(
        spec=spec,
        state_dict=read_weights(file, size, tensors),
        container=container,
        layout=layout.name,
        notes=notes,
        wrapping=state.wrapping,
        stored_dtypes=tuple(sorted({tensor.dtype for tensor in tensors.values()})),
    )


__all__ = ["Checkpoint", "read_checkpoint", "write_pytorch_fcn", "write_safetensors"]
