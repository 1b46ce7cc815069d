"""Writing checkpoints: whole, or not at all."""

from __future__ import annotations

import os
import secrets
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from fcnrt.errors import CheckpointError
from fcnrt.spec import ModelSpec


def write_safetensors(path: str | os.PathLike[str], spec: ModelSpec, state_dict: Mapping[str, Tensor]) -> None:
    """Writes fcnrt's own format: safetensors with the spec in the metadata, so nothing has to be guessed.

    Args:
        path: Replaced in one step once everything is written; left alone on failure.
        spec: What the network is.
        state_dict: By canonical name; each in the float type that it is to have in the file.

    Raises:
        CheckpointError: The file cannot be written.
    """
    with _replacing(path) as temporary:
        save_file(_detached(state_dict), temporary, metadata=spec.to_metadata())


def write_pytorch_fcn(path: str | os.PathLike[str], state_dict: Mapping[str, Tensor]) -> None:
    """Writes pytorch-fcn's layout: a bare state dict by torch.save, for programs that know nothing of fcnrt.

    The tensors cannot say whether a network is FCN-8s or FCN-8s-at-once; the file's name can.

    Raises:
        CheckpointError: The file cannot be written.
    """
    with _replacing(path) as temporary:
        torch.save(OrderedDict(_detached(state_dict)), temporary)


def _detached(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors on the CPU whose storages hold nothing else: views would drag along what they are views of."""
    detached = {}
    for key, tensor in state_dict.items():
        value = tensor.detach().cpu().contiguous()
        if value.untyped_storage().nbytes() != value.numel() * value.element_size():
            value = value.clone()
        detached[key] = value
    return detached


@contextmanager
def _replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A file beside ``path`` that takes its place at the end, and is gone after any failure."""
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode  # safetensors makes files private; people share checkpoints
        yield temporary
        temporary.chmod(mode)
        os.replace(temporary, target)
    except Exception as error:
        raise CheckpointError(f"{target}: cannot be written ({error})") from error
    finally:
        temporary.unlink(missing_ok=True)
