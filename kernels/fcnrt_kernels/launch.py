"""What the launch of a kernel needs to know."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor

from fcnrt_kernels.checks import TRANSPOSED

BILINEAR, DEPTHWISE, DENSE, HALF_PIXEL, ALIGN_CORNERS, NEAREST = range(6)
"""Where the weights of an upsampling come from; the numbers of ``jit/upsample.py``."""

_INTERPOLATIONS = {"half_pixel": HALF_PIXEL, "align_corners": ALIGN_CORNERS, "nearest": NEAREST}


def kind_of(rule: str, taps: Tensor | None) -> int:
    """The kind of upsampling that ``rule`` and ``taps`` say."""
    if rule != TRANSPOSED:
        return _INTERPOLATIONS[rule]
    return BILINEAR if taps is None else DEPTHWISE if taps.ndim == 3 else DENSE


def coarse_per_output(rule: str, coarse: Sequence[int], size: Sequence[int]) -> tuple[float, float]:
    """Coarse entries per output pixel, rows and columns, as an interpolation counts them."""
    if rule == "align_corners":
        return tuple((a - 1) / (b - 1) if b > 1 else 0.0 for a, b in zip(coarse, size, strict=True))  # type: ignore[return-value]  # two axes
    return coarse[0] / size[0], coarse[1] / size[1]


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
    # Of torch's two interfaces this one also reads what the older one set; the other way round it raises.
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "ieee"


def conv_precision() -> str:
    """How float32 products of convolutions are formed: torch's own setting for them, which allows TF32 at first."""
    settings = torch.backends.cudnn.conv  # type: ignore[attr-defined]  # torch puts it there at run time
    return "tf32" if settings.fp32_precision == "tf32" else "ieee"


def on_device(x: Tensor) -> contextlib.AbstractContextManager[object]:
    """Makes x's GPU the current one, on which Triton launches."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()
