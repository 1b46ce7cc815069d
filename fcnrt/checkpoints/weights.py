"""Reading the weights themselves, once their names and shapes are known to be right."""

from __future__ import annotations

from collections.abc import Mapping
from io import BufferedReader

import torch
from torch import Tensor

from fcnrt.checkpoints.stored import WEIGHT_DTYPES, StoredTensor
from fcnrt.checkpoints.wording import quote
from fcnrt.errors import CheckpointError

_CHUNK = 2**22


def read_weights(file: BufferedReader, size: int, tensors: Mapping[str, StoredTensor]) -> dict[str, Tensor]:
    """The tensors, as contiguous float32 on the CPU, each in memory of its own.

    Raises:
        CheckpointError: One is not a float, claims more than the file holds, or is not finite.
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
    total = sum(tensor.numel * tensor.itemsize for tensor in tensors.values())
    if total > size:
        raise CheckpointError(
            f"its weights claim {total} bytes, more than the {size} of the file: they share storage. "
            "Save them again as clones"
        )
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
