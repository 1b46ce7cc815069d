"""The torch twins of the kernels: the definition of correct, the test oracle, the path without a GPU.

Each has the signature of the op of its name. All arithmetic is in float32 (float64 for float64 inputs).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def score_upsample_add(
    coarse: Tensor,
    skip: Tensor,
    weight: Tensor,
    bias: Tensor,
    taps: Tensor | None,
    kernel: int,
    stride: int,
    offset: Sequence[int],
    skip_offset: Sequence[int],
    size: Sequence[int],
    scale: float,
    rule: str = "transposed",
) -> Tensor:
    """``upsample(coarse)[offset:][:size] + scale * weight @ skip[skip_offset:][:size] + bias``."""
    window = _window(skip, skip_offset, size)
    score = F.conv2d(_upcast(window), _upcast(weight)[:, :, None, None]).contiguous()
    score = score.mul_(scale).add_(_upcast(bias)[:, None, None])
    return score.add_(upsample_crop(coarse, taps, kernel, stride, offset, size, rule))


def upsample_crop(
    scores: Tensor,
    taps: Tensor | None,
    kernel: int,
    stride: int,
    offset: Sequence[int],
    size: Sequence[int],
    rule: str = "transposed",
) -> Tensor:
    """``conv_transpose2d(scores)[offset:][:size]``, or ``interpolate(scores, size)``; contiguous."""
    scores = _upcast(scores)
    if rule == "nearest":
        return F.interpolate(scores, tuple(size), mode="nearest").contiguous()
    if rule != "transposed":
        corners = rule == "align_corners"
        return F.interpolate(scores, tuple(size), mode="bilinear", align_corners=corners).contiguous()
    if taps is None:
        columns = _upsample_bilinear(scores, -1, kernel, stride, offset[1], size[1])
        return _upsample_bilinear(columns, -2, kernel, stride, offset[0], size[0]).contiguous()
    taps = taps.to(scores.dtype)
    if taps.ndim == 3:
        full = F.conv_transpose2d(scores, taps[:, None], stride=stride, groups=scores.shape[1])
    else:
        full = F.conv_transpose2d(scores, taps, stride=stride)
    return _window(full, offset, size).contiguous()


def upsample_argmax(
    scores: Tensor,
    taps: Tensor | None,
    kernel: int,
    stride: int,
    offset: Sequence[int],
    size: Sequence[int],
    rule: str = "transposed",
) -> Tensor:
    """``argmax`` over the classes of ``upsample_crop``: the lowest class wins a tie, NaN wins over any number."""
    logits = upsample_crop(scores, taps, kernel, stride, offset, size, rule)
    return logits.argmax(dim=1).to(label_dtype(scores.shape[1]))


def upsample_argmax_confidence(
    scores: Tensor,
    taps: Tensor | None,
    kernel: int,
    stride: int,
    offset: Sequence[int],
    size: Sequence[int],
    rule: str = "transposed",
) -> tuple[Tensor, Tensor]:
    """The labels of ``upsample_argmax`` and the winner's softmax probability, in float32."""
    logits = upsample_crop(scores, taps, kernel, stride, offset, size, rule)
    labels = logits.argmax(dim=1).to(label_dtype(scores.shape[1]))
    return labels, logits.softmax(dim=1).amax(dim=1)


def decode_labels(
    scores: Tensor,
    skips: Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    scales: Sequence[float],
    skip_offsets: Sequence[int],
    taps: Sequence[Tensor | None],
    kernels: Sequence[int],
    strides: Sequence[int],
    offsets: Sequence[int],
    sizes: Sequence[int],
    rules: Sequence[str],
) -> Tensor:
    """``score_upsample_add`` for each skip, then ``upsample_argmax``: one upsampling more than skips.

    ``skip_offsets``, ``offsets`` and ``sizes`` are rows and columns of one level after the other.
    """
    scores, *last = _refine(
        scores, skips, weights, biases, scales, skip_offsets, taps, kernels, strides, offsets, sizes, rules
    )
    return upsample_argmax(scores, *last)


def decode_labels_confidence(
    scores: Tensor,
    skips: Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    scales: Sequence[float],
    skip_offsets: Sequence[int],
    taps: Sequence[Tensor | None],
    kernels: Sequence[int],
    strides: Sequence[int],
    offsets: Sequence[int],
    sizes: Sequence[int],
    rules: Sequence[str],
) -> tuple[Tensor, Tensor]:
    """The labels of ``decode_labels`` and the winner's softmax probability, in float32."""
    scores, *last = _refine(
        scores, skips, weights, biases, scales, skip_offsets, taps, kernels, strides, offsets, sizes, rules
    )
    return upsample_argmax_confidence(scores, *last)


def label_dtype(num_classes: int) -> torch.dtype:
    """uint8, or int32 past 255 classes: 255 stays free to mean void."""
    return torch.uint8 if num_classes <= 255 else torch.int32


def _refine(
    scores: Tensor,
    skips: Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    scales: Sequence[float],
    skip_offsets: Sequence[int],
    taps: Sequence[Tensor | None],
    kernels: Sequence[int],
    strides: Sequence[int],
    offsets: Sequence[int],
    sizes: Sequence[int],
    rules: Sequence[str],
) -> tuple[Any, ...]:
    """The scores after the last skip, and the arguments of the last upsampling."""
    how = [
        (taps[level], kernels[level], strides[level], offsets[2 * level : 2 * level + 2])
        for level in range(len(kernels))
    ]
    for level, skip in enumerate(skips):
        pair = slice(2 * level, 2 * level + 2)
        scores = score_upsample_add(
            scores,
            skip,
            weights[level],
            biases[level],
            *how[level],
            skip_offset=skip_offsets[pair],
            size=sizes[pair],
            scale=scales[level],
            rule=rules[level],
        )
    return scores, *how[-1], sizes[-2:], rules[-1]


def _upcast(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _window(x: Tensor, offset: Sequence[int], size: Sequence[int]) -> Tensor:
    return x[..., offset[0] : offset[0] + size[0], offset[1] : offset[1] + size[1]]


def _upsample_bilinear(x: Tensor, axis: int, kernel: int, stride: int, offset: int, size: int) -> Tensor:
    """Bilinear transposed convolution along ``axis``, -1 or -2: entries ``offset`` to ``offset + size``.

    Each output is a sum over the few inputs that reach it and over no others, so that one NaN or infinity
    stays where it belongs (a product with a banded matrix would spread it: 0 * NaN is NaN).
    """
    steps = -(-kernel // stride)
    factor = (kernel + 1) // 2
    center = factor - 0.5 - 0.5 * (kernel % 2)
    position = torch.arange(steps * stride, dtype=x.dtype, device=x.device)
    weight = (1 - (position - center).abs() / factor).where(position < kernel, 0)
    first, last = offset // stride, (offset + size - 1) // stride  # cells of `stride` outputs
    left, right = first - (steps - 1), last + 1
    length = x.shape[axis]
    begin, end = min(max(left, 0), length), min(right, length)
    pad = (max(-left, 0), max(right - length, 0))
    x = F.pad(x.narrow(axis, begin, max(end - begin, 0)), pad if axis == -1 else (0, 0, *pad))
    cells = last - first + 1
    total: Tensor | None = None
    for step in range(steps):
        taps = weight[step * stride : (step + 1) * stride]
        inputs = x.narrow(axis, steps - 1 - step, cells).unsqueeze(axis + x.ndim + 1)
        taps = taps if axis == -1 else taps[:, None]
        # A tap outside an odd kernel weighs nothing, and must not even turn an infinity into NaN.
        term = (inputs * taps).where(taps != 0, 0) if kernel % stride else inputs * taps
        total = term if total is None else total.add_(term)
    assert total is not None
    axis += x.ndim
    return total.flatten(axis, axis + 1).narrow(axis, offset - first * stride, size)
