"""The torch twins of the convolutions: as ``reference.py`` for the decoder.

Sums are in float32 (float64 for float64 inputs), and the results are rounded once, to the type of the inputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from fcnrt_kernels import reference


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    origin: Sequence[int],
    size: Sequence[int],
    relu: bool,
    pool: bool,
) -> Tensor:
    """``F.conv2d`` of a window of ``x`` with zeros around it, then ``relu``, then ``max_pool2d(2, ceil_mode=True)``."""
    extent = [length + taps - 1 for length, taps in zip(size, weight.shape[:2], strict=True)]
    window = _window(reference._upcast(x), origin, extent)
    out = _conv(window, reference._upcast(weight).permute(2, 3, 0, 1), bias, 1, relu)
    if pool:
        out = F.max_pool2d(out, 2, ceil_mode=True)
    return out.permute(0, 2, 3, 1).to(x.dtype).contiguous()


def score(x: Tensor, weight: Tensor, bias: Tensor, offset: Sequence[int], size: Sequence[int]) -> Tensor:
    """``weight.sum(0) @ x[offset:][:size] + bias``, in float32."""
    window = reference._upcast(_window(x.permute(0, 2, 3, 1), offset, size))
    out = F.conv2d(window.permute(0, 3, 1, 2), reference._upcast(weight).sum(dim=0)[:, :, None, None])
    return (out + reference._upcast(bias)[:, None, None]).contiguous()


def conv_first(
    image: Tensor,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    shift: Tensor,
    stride: int,
    origin: Sequence[int],
    size: Sequence[int],
    relu: bool,
) -> Tensor:
    """``F.conv2d`` of the normalised image with zeros around it, then ``relu``.

    The normalised image is rounded to the type of the weights, as an image that was normalised beforehand would be.
    """
    normalised = (reference._upcast(image) * scale + shift).to(weight.dtype)
    extent = [(length - 1) * stride + taps for length, taps in zip(size, weight.shape[:2], strict=True)]
    window = _window(reference._upcast(normalised), origin, extent)
    out = _conv(window, reference._upcast(weight).permute(3, 2, 0, 1), bias, stride, relu)
    return out.permute(0, 2, 3, 1).to(weight.dtype).contiguous()


def _conv(window: Tensor, weight: Tensor, bias: Tensor, stride: int, relu: bool) -> Tensor:
    """NHWC to NCHW."""
    out = F.conv2d(window.permute(0, 3, 1, 2), weight, bias.to(weight.dtype), stride=stride)
    return out.relu_() if relu else out


def _window(x: Tensor, origin: Sequence[int], extent: Sequence[int]) -> Tensor:
    """Rows and columns ``origin`` to ``origin + extent`` of NHWC ``x``, zero where it has none."""
    pads: list[int] = []
    for axis, first, length in zip((1, 2), origin, extent, strict=True):
        # A window may lie wholly beside x; then all of it is padding.
        begin, end = min(max(first, 0), x.shape[axis]), min(max(first + length, 0), x.shape[axis])
        before = min(max(-first, 0), length)
        x = x.narrow(axis, begin, max(end - begin, 0))
        pads = [before, length - before - x.shape[axis], *pads]
    return F.pad(x, [0, 0, *pads]) if any(pads) else x
