"""Residual trunks, a sixteenth as wide, as torchvision, its forks and mmseg build them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 5
CHANNELS = 4
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


@dataclass(frozen=True)
class Stage:
    """The geometry of ``layer1`` … ``layer4``: stride, and dilations of the 3x3 convolutions.

    Args:
        stride: Of the first block.
        first: Dilation of the first block.
        dilation: Of the others.
        second: Of the second 3x3 convolution of basic blocks; None for that of the first.
    """

    stride: int = 1
    first: int = 1
    dilation: int = 1
    second: int | None = 1


class Block(nn.Module):
    """A basic block, or a bottleneck with its stride in the 3x3 convolution."""

    def __init__(self, channels: int, planes: int, deep: bool, stage: Stage, index: int) -> None:
        super().__init__()
        stride = stage.stride if index == 0 else 1
        dilation = stage.first if index == 0 else stage.dilation
        if deep:
            shapes = [(channels, planes, 1, 1, 1), (planes, planes, 3, stride, dilation), (planes, 4 * planes, 1, 1, 1)]
        else:
            second = dilation if stage.second is None else stage.second
            shapes = [(channels, planes, 3, stride, dilation), (planes, planes, 3, 1, second)]
        for place, (inputs, outputs, kernel, step, gap) in enumerate(shapes, start=1):
            padding = gap * (kernel // 2)
            conv = nn.Conv2d(inputs, outputs, kernel, step, padding, dilation=gap, bias=False)
            self.add_module(f"conv{place}", conv)
            self.add_module(f"bn{place}", nn.BatchNorm2d(outputs))
        self.length = len(shapes)
        outputs = shapes[-1][1]
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for place in range(1, self.length + 1):
            y = self.get_submodule(f"bn{place}")(self.get_submodule(f"conv{place}")(y))
            if place < self.length:
                y = F.relu(y)
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Trunk(nn.Module):
    """``conv1`` or mmseg's deep ``stem``, then ``layer1`` … ``layer4``; gives the maps of the four."""

    def __init__(self, depth: int, stages: Sequence[Stage], *, deep_stem: bool = False) -> None:
        super().__init__()
        if deep_stem:
            layers: list[nn.Module] = []
            for inputs, outputs, stride in (
                (3, CHANNELS // 2, 2),
                (CHANNELS // 2,) * 2 + (1,),
                (CHANNELS // 2, CHANNELS, 1),
            ):
                layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
            self.stem = nn.Sequential(*layers)
        else:
            self.conv1, self.bn1 = nn.Conv2d(3, CHANNELS, 7, 2, 3, bias=False), nn.BatchNorm2d(CHANNELS)
        self.deep_stem = deep_stem
        channels, deep = CHANNELS, depth >= 50
        for number, (stage, blocks) in enumerate(zip(stages, BLOCKS[depth], strict=True)):
            planes, layer = CHANNELS << number, nn.Sequential()
            for index in range(blocks):
                layer.append(Block(channels, planes, deep, stage, index))
                channels = planes * (4 if deep else 1)
            self.add_module(f"layer{number + 1}", layer)
        self.channels = channels

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x) if self.deep_stem else F.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, 3, 2, 1)
        maps = []
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
            maps.append(x)
        return maps
