"""Tramac/awesome-semantic-segmentation-pytorch: torchvision's VGG16, a head of two convolutions, stretched scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.publishers.conftest import Proof
from tests.publishers.vgg import CHANNELS, CLASSES, features, score

SLICES = {
    "tramac-fcn32s": {},
    "tramac-fcn16s": {"pool4": (0, 24), "pool5": (24, 31)},
    "tramac-fcn8s": {"pool3": (0, 17), "pool4": (17, 24), "pool5": (24, 31)},
}


class Head(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 4
        self.block = nn.Sequential(
            nn.Conv2d(channels, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Dropout(0.1),
            nn.Conv2d(inner, CLASSES, 1),
        )

    def forward(self, x: Tensor) -> Any:
        return self.block(x)


def stretch(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=True)


class TramacFCN(nn.Module):
    """FCN32s, FCN16s and FCN8s; the skip nets hold the trunk a second time, in slices.

    Args:
        slices: Name -> layers of the trunk.
        trunk: Its name, which older versions call ``pretrained``.
    """

    def __init__(self, slices: dict[str, tuple[int, int]], trunk: str) -> None:
        super().__init__()
        layers = features()
        self.add_module(trunk, nn.Sequential(*layers))
        for name, (start, stop) in slices.items():
            self.add_module(name, nn.Sequential(*layers[start:stop]))
        self.head, self.auxlayer = Head(CHANNELS[-1]), Head(CHANNELS[-1])
        self.skips = [name for name in ("pool4", "pool3") if name in slices]
        for name in self.skips:
            self.add_module(f"score_{name}", score(CHANNELS[int(name[4]) - 1]))
        self.steps = list(slices) or [trunk]

    def forward(self, x: Tensor) -> Any:
        maps, y = {}, x
        for name in self.steps:
            y = maps[name] = self.get_submodule(name)(y)
        y = self.head(y)
        for name in self.skips:
            skip = self.get_submodule(f"score_{name}")(maps[name])
            y = stretch(y, skip) + skip
        return stretch(y, x)


@pytest.mark.proves("Tramac", "tramac-fcn32s", "features.0.weight", "pretrained.0.weight")
@pytest.mark.proves("Tramac", "tramac-fcn16s", "features.0.weight", "pretrained.0.weight")
@pytest.mark.proves("Tramac", "tramac-fcn8s", "features.0.weight", "pretrained.0.weight")
def test_forward_pass(proof: Proof, seeded: Callable[[Any], Any], tmp_path: Path) -> None:
    net = seeded(TramacFCN(SLICES[proof.arch], proof.variant.partition(".")[0]))
    path = tmp_path / f"{proof.arch.removeprefix('tramac-')}_vgg16_pascal_voc.pth"
    torch.save(net.state_dict(), path)
    proof.compare(path, net, sizes=((33, 47), (61, 95)))
