"""torchvision's AlexNet and GoogLeNet up to their last maps, with its parameter names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIXTEENTH_OF_ALEXNET = (4, 12, 24, 16, 16)


def alexnet_features(channels: Sequence[int], *, padding: int = 2, ceil_mode: bool = False) -> list[nn.Module]:
    """``alexnet().features``: five convolutions, three pools, neither groups nor normalization."""
    layers: list[nn.Module] = []
    shapes = ((11, 4, padding), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))
    for place, (outputs, (kernel, stride, border)) in enumerate(zip(channels, shapes, strict=True), start=1):
        inputs = channels[place - 2] if place > 1 else 3
        layers += [nn.Conv2d(inputs, outputs, kernel, stride, border), nn.ReLU(inplace=True)]
        if place in (1, 2, 5):
            layers.append(nn.MaxPool2d(3, 2, ceil_mode=ceil_mode))
    return layers


class BasicConv2d(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """Its third branch has 3x3 where the paper has 5x5."""

    def __init__(self, inputs: int, one: int, reduce: int, three: int, reduce5: int, five: int, pool: int) -> None:
        super().__init__()
        self.branch1 = BasicConv2d(inputs, one)
        self.branch2 = nn.Sequential(BasicConv2d(inputs, reduce), BasicConv2d(reduce, three, 3, padding=1))
        self.branch3 = nn.Sequential(BasicConv2d(inputs, reduce5), BasicConv2d(reduce5, five, 3, padding=1))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), BasicConv2d(inputs, pool))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


INCEPTIONS = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}


class GoogLeNetTrunk(nn.Module):
    """``googlenet()`` up to ``inception5b``, a sixteenth as wide. All pools round up; the last is 2x2."""

    def __init__(self, padding: int = 3) -> None:
        super().__init__()
        self.conv1 = BasicConv2d(3, 4, 7, 2, padding)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.conv3 = BasicConv2d(4, 4), BasicConv2d(4, 12, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        channels = 12
        for name, (_, *full) in INCEPTIONS.items():
            slim = [round(width / 16) for width in full]
            block = Inception(channels, *slim)
            self.add_module(f"inception{name}", block)
            channels = slim[0] + slim[2] + slim[4] + slim[5]
            if name == "3b":
                self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
            elif name == "4e":
                self.maxpool4 = nn.MaxPool2d(2, 2, ceil_mode=True)
        self.channels = channels

    def forward(self, x: Tensor) -> Any:
        for layer in self.children():  # they were made in the order in which they run
            x = layer(x)
        return x
