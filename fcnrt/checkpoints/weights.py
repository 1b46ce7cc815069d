"""Reading the weights themselves, once their names and shapes are known to be right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from io import BufferedReader

import torch
from torch import Tensor

from fcnrt.checkpoints.deflate import DeflatedStorage
from fcnrt.checkpoints.rewriting import Shapes
from fcnrt.checkpoints.stored import WEIGHT_DTYPES, StoredTensor
from fcnrt.checkpoints.wording import quote
from fcnrt.errors import CheckpointError

_CHUNK = 2**22


EXPANSION, SLACK = 4, 2**26


def limit(size: int) -> int:
    """Bytes that the weights of a file of ``size`` bytes may take, expanded.

    Real weights hardly compress, but bilinear kernels do, and so do those of one group per class.
    """
    return EXPANSION * size + SLACK


def check_weights(tensors: Mapping[str, StoredTensor], size: int) -> None:
    """Refuses, before any is read, tensors that are no weights, or more than a file of ``size`` bytes can hold.

    Raises:
        CheckpointError: One is not a float, or claims more than the file holds.
    """
    for key, tensor in tensors.items():
        if tensor.dtype not in WEIGHT_DTYPES:
            raise CheckpointError(
                f"{quote(key)} is {tensor.dtype}; expected weights of {', '.join(WEIGHT_DTYPES)}. "
                "Save the network before it is quantised"
            )
        try:
            tensor.check_fits()
        except CheckpointError as error:
            raise CheckpointError(f"{quote(key)}: {error}") from None
    deflated = any(isinstance(tensor.storage, DeflatedStorage) for tensor in tensors.values())
    most = limit(size) if deflated else size
    total = sum(tensor.numel * tensor.itemsize for tensor in tensors.values())
    if total > most:
        why = "they are compressed beyond what weights can be" if deflated else "they share storage"
        raise CheckpointError(
            f"its weights claim {total} bytes, more than the {most} of the file: {why}. Save them again as clones"
        )


def check_expansion(shapes: Shapes, size: int) -> None:
    """Refuses shapes that a file of ``size`` bytes would be expanded to beyond its limit.

    Raises:
        CheckpointError: All of them together take too much.
    """
    total = sum(map(math.prod, shapes.values())) * torch.float32.itemsize
    if total > limit(size):
        raise CheckpointError(
            f"its weights would take {total} bytes, far more than the {size} of the file; expected a network's"
        )


def read_weights(file: BufferedReader, tensors: Mapping[str, StoredTensor]) -> dict[str, Tensor]:
    """The tensors, as contiguous float32 on the CPU, each in memory of its own.

    Raises:
        CheckpointError: One is cut, or not finite.
    """
    return {key: _read(file, key, tensor) for key, tensor in tensors.items()}


def _read(file: BufferedReader, key: str, stored: StoredTensor) -> Tensor:
    tensor = stored.read(file).to(torch.float32).contiguous()
    # A sum is one pass without temporaries, and not finite if any weight is not; or it overflows by itself.
    if not tensor.sum().isfinite():
        bad = _count_not_finite(tensor.view(-1))
        if bad:
            raise CheckpointError(
                f"{quote(key)} has {bad} of {tensor.numel()} weights that are NaN or infinite in float32; "
                "training diverged or the file is damaged. Use an earlier checkpoint"
            )
    return tensor


def _count_not_finite(flat: Tensor) -> int:
    """In chunks: ``isfinite`` makes temporaries as large as what it is given."""
    starts = range(0, flat.numel(), _CHUNK)
    return sum(int(flat[start : start + _CHUNK].isfinite().logical_not().sum()) for start in starts)
