"""What each fused op replaces, as an eager user writes it: layers of ``torch.nn``, a crop, an addition.

The transposed convolutions are dense, as in the original nets, whatever their weights are. In float64 on the CPU these
modules are also the oracle of ``tests/device``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcnrt.models.upsampling import bilinear_weight

KINDS = ("bilinear", "depthwise", "dense")
"""The kinds of transposed convolution that a checkpoint may hold."""


@dataclass(frozen=True)
class Deconvolved:
    """A window of a transposed convolution without padding; ``weight`` is ``[C,C,kernel,kernel]`` (in, out)."""

    weight: Tensor
    stride: int
    offset: tuple[int, int]
    size: tuple[int, int]

    @property
    def kernel(self) -> int:
        return self.weight.shape[-1]


class UpsampleCrop(nn.Module):
    """Scores ``[N,C,h,w]`` to ``[N,C,*size]``."""

    def __init__(self, window: Deconvolved) -> None:
        super().__init__()
        channels = window.weight.shape[0]
        with torch.device("meta"):
            self.up = nn.ConvTranspose2d(channels, channels, window.kernel, stride=window.stride, bias=False)
        self.up.weight = nn.Parameter(window.weight.clone(), requires_grad=False)
        self.offset, self.size = window.offset, window.size

    def forward(self, scores: Tensor) -> Tensor:
        return cut(self.up(scores), self.offset, self.size)


class Interpolate(nn.Module):
    """The same by interpolation; ``rule`` is ``half_pixel``, ``align_corners`` or ``nearest``."""

    def __init__(self, rule: str, size: tuple[int, int]) -> None:
        super().__init__()
        self.rule, self.size = rule, size

    def forward(self, scores: Tensor) -> Tensor:
        if self.rule == "nearest":
            return F.interpolate(scores, self.size, mode="nearest")
        return F.interpolate(scores, self.size, mode="bilinear", align_corners=self.rule == "align_corners")


class ScoreUpsampleAdd(nn.Module):
    """Coarse scores ``[N,C,h,w]`` and a skip's features ``[N,K,*,*]`` to ``[N,C,*size]``."""

    def __init__(
        self, upsample: UpsampleCrop | Interpolate, weight: Tensor, bias: Tensor, skip_offset: tuple[int, int]
    ) -> None:
        super().__init__()
        self.upsample = upsample
        with torch.device("meta"):
            self.score = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
        self.score.weight = nn.Parameter(weight[:, :, None, None].clone(), requires_grad=False)
        self.score.bias = nn.Parameter(bias.clone(), requires_grad=False)
        self.skip_offset = skip_offset

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        upsampled: Tensor = self.upsample(coarse)
        return upsampled + cut(self.score(skip), self.skip_offset, self.upsample.size)


def cut(x: Tensor, offset: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Rows and columns ``offset`` to ``offset + size``."""
    return x[..., offset[0] : offset[0] + size[0], offset[1] : offset[1] + size[1]]


def deconvolution_weight(kind: str, channels: int, kernel: int, seed: int = 0) -> Tensor:
    """Weights of one of ``KINDS``: bilinear, or learned away from it by a fifth."""
    weight = bilinear_weight(channels, kernel)
    if kind == "bilinear":
        return weight
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)) * 0.2
    if kind == "depthwise":
        noise = noise * torch.eye(channels)[:, :, None, None]
    return weight + noise
