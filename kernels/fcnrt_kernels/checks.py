"""What the ops demand of their arguments, said in one place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16)

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
