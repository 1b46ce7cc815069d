"""What the ops demand of their arguments, said in one place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16)

MOST = (1 << 31) - (1 << 16)
"""Pixels of an image, and taps, that 32 bits number with a tile to spare; offsets in memory have 64 bits."""

TRANSPOSED = "transposed"
RULES = (TRANSPOSED, "half_pixel", "align_corners", "nearest")
"""How coarse scores become fine: a transposed convolution, or one of the interpolations of torch's."""


def check_scores(name: str, scores: Tensor) -> None:
    """``scores`` is a floating ``[N,C,h,w]`` with at least one class, row and column; the batch may be empty."""
    if scores.ndim != 4 or 0 in scores.shape[1:]:
        raise ValueError(f"{name} has shape {list(scores.shape)}; expected [N, classes, height, width]")
    if scores.dtype not in DTYPES:
        raise ValueError(f"{name} is {scores.dtype}; expected float32, float16 or bfloat16")


def check_upsampling(
    scores: Tensor,
    taps: Tensor | None,
    kernel: int,
    stride: int,
    offset: Sequence[int],
    size: Sequence[int],
    rule: str,
) -> None:
    """The window lies inside the upsampled map, and the taps fit the scores and the rule."""
    if rule not in RULES:
        raise ValueError(f"unknown rule {rule!r}; expected {', '.join(map(repr, RULES))}")
    pixels, weights = size[0] * size[1], 0 if taps is None else taps.numel()
    if max(pixels, weights) >= MOST:
        raise ValueError(
            f"a window of {pixels} pixels with {weights} taps: the kernels count up to 2^31 of each; expected fewer"
        )
    if rule != TRANSPOSED:
        if taps is not None or any(offset) or min(size) < 1:
            raise ValueError(
                f"{rule} interpolation takes {list(scores.shape)} scores, offset {list(offset)} to {list(size)}"
                f"{'' if taps is None else ' with taps'}; expected scores, no offset, no taps, a size of at least one"
            )
        return
    if kernel < stride or stride < 1:
        raise ValueError(f"kernel {kernel} with stride {stride} leaves gaps; expected kernel >= stride >= 1")
    for axis, edge, first, length in zip(("rows", "columns"), scores.shape[2:], offset, size, strict=True):
        full = (edge - 1) * stride + kernel
        if first < 0 or length < 1 or first + length > full:
            raise ValueError(
                f"the window takes {axis} {first} to {first + length} of an upsampled map that has {full}; "
                f"expected a window of at least one inside it"
            )
    if taps is not None:
        channels = scores.shape[1]
        depthwise, dense = (channels, kernel, kernel), (channels, channels, kernel, kernel)
        if tuple(taps.shape) not in (depthwise, dense):
            raise ValueError(
                f"taps have shape {list(taps.shape)}; expected {list(depthwise)} (one filter a class), "
                f"{list(dense)} (in, out, rows, columns), or None for bilinear"
            )
        if taps.dtype != torch.float32 or not taps.is_contiguous():
            raise ValueError(f"taps are {taps.dtype}, strides {taps.stride()}; expected contiguous float32")
        if taps.device != scores.device:
            raise ValueError(f"taps are on {taps.device}, scores on {scores.device}; expected the same device")


def check_skip(
    coarse: Tensor,
    skip: Tensor,
    weight: Tensor,
    bias: Tensor,
    skip_offset: Sequence[int],
    size: Sequence[int],
) -> None:
    """The skip, its score layer and the window agree with the coarse scores."""
    check_scores("skip", skip)
    if skip.shape[0] != coarse.shape[0]:
        raise ValueError(f"skip has batch {skip.shape[0]}, coarse has {coarse.shape[0]}; expected the same")
    expected = (coarse.shape[1], skip.shape[1])
    if tuple(weight.shape) != expected or tuple(bias.shape) != expected[:1]:
        raise ValueError(
            f"the score layer has weight {list(weight.shape)} and bias {list(bias.shape)}; "
            f"expected {list(expected)} (classes, skip channels) and {list(expected[:1])}"
        )
    if not bias.is_floating_point() or not bias.is_contiguous():
        raise ValueError(f"bias is {bias.dtype}, strides {bias.stride()}; expected contiguous floats")
    if weight.dtype != skip.dtype or not weight.is_contiguous():
        raise ValueError(
            f"weight is {weight.dtype}, strides {weight.stride()}; expected contiguous {skip.dtype}, as skip is"
        )
    for axis, edge, first, length in zip(("rows", "columns"), skip.shape[2:], skip_offset, size, strict=True):
        if first < 0 or first + length > edge:
            raise ValueError(f"the crop takes {axis} {first} to {first + length} of a skip that has {edge}")
    for name, tensor in (("skip", skip), ("weight", weight), ("bias", bias)):
        if tensor.device != coarse.device:
            raise ValueError(f"{name} is on {tensor.device}, coarse on {coarse.device}; expected the same device")


def check_out(out: Tensor, shape: tuple[int, ...], dtypes: tuple[torch.dtype, ...], device: torch.device) -> None:
    """A caller's buffer has the shape, one of the types and the device of the result."""
    if tuple(out.shape) != shape or out.dtype not in dtypes or out.device != device:
        names = " or ".join(str(dtype) for dtype in dtypes)
        raise ValueError(
            f"out is {out.dtype} {list(out.shape)} on {out.device}; expected {names} {list(shape)} on {device}"
        )


def check_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    origin: Sequence[int],
    size: Sequence[int],
    relu: bool,
    pool: bool,
) -> None:
    """What ``conv`` demands: an NHWC map, packed weights of its type, an output of at least one position."""
    if x.ndim != 4 or 0 in x.shape[1:]:
        raise ValueError(f"x has shape {list(x.shape)}; expected [N, height, width, channels]")
    if x.dtype not in DTYPES:
        raise ValueError(f"x is {x.dtype}; expected float32, float16 or bfloat16")
    if x.stride(3) != 1 and x.shape[3] > 1:
        raise ValueError(f"x has strides {x.stride()}; expected channels next to each other, a last stride of 1")
    if weight.ndim != 4 or weight.shape[3] != x.shape[3] or 0 in weight.shape:
        raise ValueError(
            f"weight has shape {list(weight.shape)}; expected [rows, columns, out, {x.shape[3]}], as x has "
            f"{x.shape[3]} channels"
        )
    if weight.dtype != x.dtype or not weight.is_contiguous():
        raise ValueError(f"weight is {weight.dtype}, strides {weight.stride()}; expected contiguous {x.dtype}, as x is")
    check_bias(bias, weight.shape[2])
    check_positions(origin, size)
    check_devices(x, weight=weight, bias=bias)


def check_bias(bias: Tensor, channels: int) -> None:
    """One float for each output channel."""
    if tuple(bias.shape) != (channels,) or not bias.is_floating_point() or not bias.is_contiguous():
        raise ValueError(
            f"bias is {bias.dtype} {list(bias.shape)}, strides {bias.stride()}; expected {channels} contiguous floats"
        )


def check_positions(origin: Sequence[int], size: Sequence[int]) -> None:
    """A window of at least one row and one column, wherever it lies."""
    if len(origin) != 2 or len(size) != 2 or min(size) < 1:
        raise ValueError(f"origin is {list(origin)}, size is {list(size)}; expected two numbers each, a size from 1 up")


def check_devices(x: Tensor, **others: Tensor) -> None:
    """All tensors lie where the first one does."""
    for name, tensor in others.items():
        if tensor.device != x.device:
            raise ValueError(f"{name} is on {tensor.device}, the input on {x.device}; expected the same device")


def check_nhwc_out(out: Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
    """A caller's NHWC buffer has the shape, the type and the device of the result, and channels next to each other."""
    check_out(out, shape, (dtype,), device)
    if out.stride(3) != 1 and out.shape[3] > 1:
        raise ValueError(f"out has strides {out.stride()}; expected channels next to each other, a last stride of 1")
