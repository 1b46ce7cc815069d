"""Residual trunks: ResNet-18, -34, -50 and -101, plain or dilated, with torchvision's parameter names.

Layers are those of pytorch/vision ``torchvision/models/resnet.py``: the first version of the blocks with the stride of
a bottleneck in its 3x3 convolution ("v1.5"). The deep stem is that of open-mmlab/mmsegmentation
``mmseg/models/backbones/resnet.py`` ("V1c"). He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition".

Every convolution and pool has an odd kernel and pads by half of it, so a map of stride ``s`` has ``ceil(size / s)``
entries, at least one, and entry ``i`` is centred on pixel ``s * i``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from fcnrt.errors import InputError
from fcnrt.models.batchnorm import prefixed
from fcnrt.models.layers import scaled

STAGES: Mapping[int, tuple[tuple[int, int], ...]] = {
    8: ((1, 1), (2, 1), (1, 2), (1, 4)),
    16: ((1, 1), (2, 1), (2, 1), (1, 2)),
    32: ((1, 1), (2, 1), (2, 1), (2, 1)),
}
"""Stride and dilation of ``layer1`` … ``layer4``, for each output stride."""

STEM_CHANNELS = 64


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut.

    Args:
        in_channels: of the input.
        planes: channels of the convolutions; the output has ``expansion`` times as many.
        stride: of the first 3x3 convolution, and of the shortcut.
        dilation: of the first 3x3 convolution.
        second_dilation: of the second, where there is one.
        project: the shortcut is a 1x1 convolution; otherwise it is the input itself.
    """

    expansion: ClassVar[int] = 1
    pairs: ClassVar[tuple[tuple[str, str], ...]] = (("conv1", "bn1"), ("conv2", "bn2"))

    def __init__(
        self,
        in_channels: int,
        planes: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        second_dilation: int = 1,
        project: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, planes, stride, dilation)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes, 1, second_dilation)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _shortcut(in_channels, planes, stride) if project else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``[N,C,H,W]`` to ``[N,planes,ceil(H/stride),ceil(W/stride)]``."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += self.downsample(x)
        return F.relu(y, inplace=True)


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 ones, beside a shortcut; arguments as for :class:`BasicBlock`."""

    expansion: ClassVar[int] = 4
    pairs: ClassVar[tuple[tuple[str, str], ...]] = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"))

    def __init__(
        self,
        in_channels: int,
        planes: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        second_dilation: int = 1,
        project: bool = False,
    ) -> None:
        super().__init__()
        channels = planes * self.expansion
        self.conv1 = nn.Conv2d(in_channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes, stride, dilation)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels)
        self.downsample = _shortcut(in_channels, channels, stride) if project else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``[N,C,H,W]`` to ``[N,4*planes,ceil(H/stride),ceil(W/stride)]``."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += self.downsample(x)
        return F.relu(y, inplace=True)


BLOCKS: Mapping[int, tuple[type[BasicBlock | Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}
"""The block and how many of it ``layer1`` … ``layer4`` have, for each depth."""


class ResNet(nn.Module):
    """The trunk of a residual classifier, without its pooling and its ``fc``.

    Args:
        depth: one of ``BLOCKS``.
        width: multiplies every channel count; 1.0 is the net of the paper.
        output_stride: of ``layer4``, one of ``STAGES``. Below 32 the last stages dilate instead of striding.
        deep_stem: three 3x3 convolutions ``stem`` (V1c) in place of the 7x7 ``conv1``.
        uniform_dilation: every 3x3 convolution of a dilated stage has the stage's dilation, as in warmspringwinds'
            fork of torchvision. Otherwise the first block has half of it, and of a basic block only the first
            convolution is dilated, as in torchvision and mmseg.

    Raises:
        InputError: no such depth or output stride.

    Weights start as torchvision's do (He et al. 2015, fan out).
    """

    def __init__(
        self,
        depth: int,
        *,
        width: float = 1.0,
        output_stride: int = 32,
        deep_stem: bool = False,
        uniform_dilation: bool = False,
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise InputError(f"ResNet-{depth} is not known; expected a depth of {', '.join(map(str, BLOCKS))}")
        if output_stride not in STAGES:
            raise InputError(f"output stride {output_stride} is not known; expected {', '.join(map(str, STAGES))}")
        channels = scaled(STEM_CHANNELS, width)
        self._pairs: list[tuple[str, str]] = []
        if deep_stem:
            self.stem = _deep_stem(scaled(STEM_CHANNELS // 2, width), channels)
            self._pairs += [("stem.0", "stem.1"), ("stem.3", "stem.4"), ("stem.6", "stem.7")]
        else:
            self.conv1 = nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
            self.bn1 = nn.BatchNorm2d(channels)
            self._pairs += [("conv1", "bn1")]
        self.deep_stem = deep_stem
        self.stem_channels = channels
        self.channels: dict[str, int] = {}
        self.strides: dict[str, int] = {}
        block, depths = BLOCKS[depth]
        for stage, ((stride, dilation), blocks) in enumerate(zip(STAGES[output_stride], depths, strict=True)):
            name, planes = f"layer{stage + 1}", scaled(STEM_CHANNELS << stage, width)
            layer = nn.Sequential()
            for index in range(blocks):
                halved = index == 0 and dilation > 1 and not uniform_dilation
                # Said by place, not by comparing channel counts, so that a slim net has the layers of the full one.
                project = index == 0 and (stage > 0 or block.expansion > 1)
                layer.append(
                    block(
                        channels,
                        planes,
                        stride=stride if index == 0 else 1,
                        dilation=dilation // 2 if halved else dilation,
                        second_dilation=dilation if uniform_dilation else 1,
                        project=project,
                    )
                )
                shortcut = (("downsample.0", "downsample.1"),) if project else ()
                self._pairs += prefixed(f"{name}.{index}", (*block.pairs, *shortcut))
                channels = planes * block.expansion
            self.add_module(name, layer)
            self.channels[name], self.strides[name] = channels, stride
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor, names: Collection[str]) -> dict[str, Tensor]:
        """Normalised image ``[N,3,H,W]`` to the maps ``names``, of ``layer1`` … ``layer4``."""
        x = self.stem(x) if self.deep_stem else F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        maps: dict[str, Tensor] = {}
        for name in self.channels:
            x = self.get_submodule(name)(x)
            if name in names:
                maps[name] = x
        return maps

    def normalized_pairs(self) -> tuple[tuple[str, str], ...]:
        """Every convolution and the batch normalization behind it, by name."""
        return tuple(self._pairs)

    def peak_elements(self, height: int, width: int) -> int:
        """The stem's map before and after its normalization, or a block's input and output."""
        height, width = -(-height // 2), -(-width // 2)
        peak = 2 * self.stem_channels * height * width
        height, width = -(-height // 2), -(-width // 2)
        for name, channels in self.channels.items():
            height, width = -(-height // self.strides[name]), -(-width // self.strides[name])
            peak = max(peak, 2 * channels * height * width)
        return peak


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A 3x3 convolution without bias, padded to give ``ceil(size / stride)`` positions."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=dilation, dilation=dilation, bias=False)


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
        nn.BatchNorm2d(out_channels),
    )


def _deep_stem(half: int, channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for in_channels, out_channels, stride in ((3, half, 2), (half, half, 1), (half, channels, 1)):
        layers += [conv3x3(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
