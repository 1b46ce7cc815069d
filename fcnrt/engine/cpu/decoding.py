"""Labels strip by strip: of the logits no more exist at once than a few rows, which stay in the cache.

What ``fcnrt_kernels.upsample_argmax`` gives, where no Triton kernel runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from fcnrt_kernels.checks import TRANSPOSED
from fcnrt_kernels.reference import label_dtype, upsample_crop

STRIP_ELEMENTS = 1 << 18
"""Logits of a strip, unless the rows that one coarse row makes are more."""

Strips: TypeAlias = Iterator[tuple[int, int, Tensor]]
"""First row, end, and logits ``[C,rows,W]``."""


def label_strips(
    scores: Tensor,
    *,
    size: Sequence[int],
    kernel: int = 1,
    stride: int = 1,
    offset: Sequence[int] = (0, 0),
    taps: Tensor | None = None,
    rule: str = TRANSPOSED,
    confidence: bool = False,
) -> Any:
    """The best class of each pixel in a window of the upsampled ``scores``.

    Arguments and results are those of ``fcnrt_kernels.upsample_argmax``: the lowest class wins a tie, and NaN wins over
    any number.
    """
    images, classes = scores.shape[:2]
    labels = scores.new_empty((images, *size), dtype=label_dtype(classes))
    probability = torch.empty_like(labels, dtype=torch.float16) if confidence else None
    for image in range(images):
        some = scores[image : image + 1]
        strips = (
            _convolved(some, taps, kernel, stride, offset, size)
            if rule == TRANSPOSED
            else _resized(some[0].to(torch.promote_types(some.dtype, torch.float32)), rule, size)
        )
        for begin, end, logits in strips:
            # Not argmax, which takes five times as long along this axis.
            labels[image, begin:end] = logits.max(dim=0).indices
            if probability is not None:
                probability[image, begin:end] = logits.softmax(dim=0).amax(dim=0)
    return labels if probability is None else (labels, probability)


def _convolved(
    scores: Tensor, taps: Tensor | None, kernel: int, stride: int, offset: Sequence[int], size: Sequence[int]
) -> Strips:
    """By transposed convolution: a strip is what whole coarse rows make, as far as the window has it."""
    rows = stride * max(1, STRIP_ELEMENTS // (scores.shape[1] * size[1] * stride))
    for top in range(offset[0] // stride * stride, offset[0] + size[0], rows):
        first, end = max(top, offset[0]), min(top + rows, offset[0] + size[0])
        reached = max(0, min((first - kernel) // stride + 1, first // stride))
        # Where a kernel is shorter than its stride, nothing reaches the last rows, which are there all the same.
        coarse = scores[:, :, reached : (end - 1) // stride + 1 + (kernel < stride)]
        window = (first - reached * stride, offset[1]), (end - first, size[1])
        yield first - offset[0], end - offset[0], upsample_crop(coarse, taps, kernel, stride, *window)[0]


def _resized(scores: Tensor, rule: str, size: Sequence[int]) -> Strips:
    """By interpolation: columns of all coarse rows first, which are few."""
    wide = _interpolate(scores, 2, rule, range(size[1]), size[1])
    rows = max(1, STRIP_ELEMENTS // (scores.shape[0] * size[1]))
    for begin in range(0, size[0], rows):
        end = min(begin + rows, size[0])
        yield begin, end, _interpolate(wide, 1, rule, range(begin, end), size[0])


def _interpolate(x: Tensor, axis: int, rule: str, entries: range, size: int) -> Tensor:
    """``entries`` of ``x`` when ``axis`` is resized to ``size``, as ``torch.nn.functional.interpolate`` does it."""
    length = x.shape[axis]
    position = _POSITIONS[rule](torch.arange(entries.start, entries.stop, dtype=x.dtype), length, size)
    lower = position.floor().long().clamp_max(length - 1)
    near = x.index_select(axis, lower)
    if rule == "nearest":
        return near
    far = x.index_select(axis, (lower + 1).clamp_max(length - 1))
    share = (position - lower).view([-1 if dim == axis else 1 for dim in range(x.ndim)])
    return near.mul_(1 - share).add_(far.mul_(share))


_POSITIONS: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "nearest": lambda entry, length, size: entry * (length / size),
    "half_pixel": lambda entry, length, size: ((entry + 0.5) * (length / size) - 0.5).clamp_min(0),
    "align_corners": lambda entry, length, size: entry * ((length - 1) / max(size - 1, 1)),
}
"""Where an entry of the larger axis lies on the smaller one."""
