"""What every launch of a decoder kernel needs to know."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor

BILINEAR, DEPTHWISE, DENSE = 0, 1, 2
"""How the weights of a transposed convolution are held; the numbers of ``jit/upsample.py``."""


def kind_of(taps: Tensor | None) -> int:
    """The kind of weights that ``taps`` are: none, one filter a class, or every class into every class."""
    return BILINEAR if taps is None else DEPTHWISE if taps.ndim == 3 else DENSE


def cdiv(numerator: int, denominator: int) -> int:
    """The quotient, rounded up."""
    return -(-numerator // denominator)


def phase_blocks(stride: int, offset: Sequence[int], size: Sequence[int], block_p: int) -> int:
    """Programs that cover a window phase by phase (``jit/upsample.py:phase_pixels``)."""
    cells = 1
    for first, length in zip(offset, size, strict=True):
        cells *= (first + length - 1) // stride - first // stride + 1
    return cdiv(cells, block_p) * stride * stride


def dot_precision() -> str:
    """How float32 products of score layers are formed: TF32 only where the user allowed it to torch."""
    return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def on_device(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """Makes x's GPU the current one, on which Triton launches."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()
