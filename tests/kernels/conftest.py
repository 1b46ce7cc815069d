"""An oracle that shares nothing with the kernels or their twins, and memory laid out in every awkward way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Compose(Protocol):
    def __call__(
        self,
        scores: Tensor,
        taps: Tensor | None = None,
        kernel: int = 1,
        stride: int = 1,
        offset: Sequence[int] = (0, 0),
        size: Sequence[int] = (1, 1),
        rule: str = "transposed",
    ) -> Tensor: ...


class ComposeScore(Protocol):
    def __call__(
        self,
        coarse: Tensor,
        skip: Tensor,
        weight: Tensor,
        bias: Tensor,
        skip_offset: Sequence[int],
        scale: float,
        **upsampling: Any,
    ) -> Tensor: ...


class LayOut(Protocol):
    def __call__(self, x: Tensor, layout: str) -> Tensor: ...


def dense_weight(taps: Tensor | None, channels: int, kernel: int) -> Tensor:
    """The float64 ``[C,C,k,k]`` of an ``nn.ConvTranspose2d`` for any form of taps."""
    if taps is not None and taps.ndim == 4:
        return taps.double()
    if taps is None:
        f = -(-kernel // 2)
        c = (kernel - 1) / 2 / f if kernel % 2 else (2 * f - 1 - f % 2) / (2 * f)  # even: Caffe's BilinearFiller
        row = torch.tensor([1 - abs(x / f - c) for x in range(kernel)], dtype=torch.float64)
        taps = (row[:, None] * row).expand(channels, -1, -1)
    weight = torch.zeros(channels, channels, kernel, kernel, dtype=torch.float64)
    for channel in range(channels):
        weight[channel, channel] = taps[channel]
    return weight


def compose(
    scores: Tensor,
    taps: Tensor | None = None,
    kernel: int = 1,
    stride: int = 1,
    offset: Sequence[int] = (0, 0),
    size: Sequence[int] = (1, 1),
    rule: str = "transposed",
) -> Tensor:
    if rule == "nearest":  # which one is nearest depends on float32's rounding of the position
        return F.interpolate(scores.float(), tuple(size), mode="nearest").double()
    if rule != "transposed":
        corners = rule == "align_corners"
        return F.interpolate(scores.double(), tuple(size), mode="bilinear", align_corners=corners)
    channels = scores.shape[1]
    deconv = nn.ConvTranspose2d(channels, channels, kernel, stride=stride, bias=False, dtype=torch.float64)
    deconv.weight.data.copy_(dense_weight(taps, channels, kernel))
    with torch.no_grad():
        full: Tensor = deconv(scores.double())
    return full[:, :, offset[0] : offset[0] + size[0], offset[1] : offset[1] + size[1]]


def compose_score(
    coarse: Tensor,
    skip: Tensor,
    weight: Tensor,
    bias: Tensor,
    skip_offset: Sequence[int],
    scale: float,
    **upsampling: Any,
) -> Tensor:
    score = nn.Conv2d(skip.shape[1], coarse.shape[1], 1, dtype=torch.float64)
    score.weight.data.copy_(weight[:, :, None, None])
    score.bias.data.copy_(bias)  # type: ignore[union-attr]  # it has one
    with torch.no_grad():
        full: Tensor = score(skip.double() * scale)
    (y, x), (rows, columns) = skip_offset, upsampling["size"]
    return full[:, :, y : y + rows, x : x + columns] + compose(coarse, **upsampling)


LAYOUTS = ("contiguous", "channels_last", "view", "transposed")


def lay_out(x: Tensor, layout: str) -> Tensor:
    """``x`` with the same values and other strides; what lies around a view is NaN, so that reading it shows."""
    if layout == "contiguous":
        return x.contiguous()
    if layout == "channels_last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "transposed":
        return x.mT.contiguous().mT
    assert layout == "view", layout
    n, c, h, w = x.shape
    around = torch.full((n + 1, c + 2, h + 3, 2 * w + 5), float("nan"), dtype=x.dtype)
    view = around[1:, 1 : c + 1, 2 : h + 2, 3 : 2 * w + 3 : 2]
    return view.copy_(x)


@pytest.fixture(name="compose")
def _compose() -> Compose:
    """``nn.ConvTranspose2d`` and a crop, or ``F.interpolate``, in float64."""
    return compose


@pytest.fixture(name="compose_score")
def _compose_score() -> ComposeScore:
    """``nn.Conv2d``, a crop, what ``compose`` does, and an addition, in float64."""
    return compose_score


@pytest.fixture(name="lay_out")
def _lay_out() -> LayOut:
    return lay_out
