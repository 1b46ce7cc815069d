"""warmspringwinds/pytorch-segmentation-detection: residual nets, dilated and with skips, on its fork of torchvision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.publishers.conftest import Proof
from tests.publishers.resnet import CLASSES, Stage, Trunk

STAGES = {
    8: (Stage(), Stage(2), Stage(1, 2, 2, None), Stage(1, 4, 4, None)),
    16: (Stage(), Stage(2), Stage(2), Stage(1, 2, 2, None)),
    32: (Stage(), Stage(2), Stage(2), Stage(2)),
}
"""Once the output stride is reached, every 3x3 convolution is dilated instead, first blocks too."""


class ResnetDilated(nn.Module):
    """``Resnet18_8s`` and its like of ``resnet_dilated.py``; the trunk is an attribute, mostly of the same name."""

    def __init__(self, depth: int, stride: int, name: str = "") -> None:
        super().__init__()
        self.name = name or f"resnet{depth}_{stride}s"
        trunk = Trunk(depth, STAGES[stride])
        trunk.fc = nn.Conv2d(trunk.channels, CLASSES, 1)
        self.add_module(self.name, trunk)

    def forward(self, x: Tensor) -> Tensor:
        trunk = self.get_submodule(self.name)
        return stretch(trunk.get_submodule("fc")(self.run(trunk, x)), x)

    def run(self, trunk: nn.Module, x: Tensor) -> Tensor:
        maps: list[Tensor] = trunk(x)
        return maps[-1]


class Resnet9(ResnetDilated):
    """``Resnet9_8s``, which leaves out most of its trunk."""

    def __init__(self) -> None:
        super().__init__(18, 8)

    def run(self, trunk: nn.Module, x: Tensor) -> Tensor:
        x = F.relu(trunk.get_submodule("bn1")(trunk.get_submodule("conv1")(x)))
        x = F.max_pool2d(x, 3, 2, 1)
        for number in range(1, 5):
            x = trunk.get_submodule(f"layer{number}.0")(x)
        return x


class ResnetFCN(nn.Module):
    """``Resnet18_8s`` and its like of ``resnet_fcn.py``, which has other nets under the same names."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.name = f"resnet{depth}_32s"
        trunk = Trunk(depth, STAGES[32])
        trunk.fc = nn.Sequential()
        self.add_module(self.name, trunk)
        self.score_32s = nn.Conv2d(trunk.channels, CLASSES, 1)
        self.score_16s = nn.Conv2d(trunk.channels // 2, CLASSES, 1)
        self.score_8s = nn.Conv2d(trunk.channels // 4, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        _, layer2, layer3, layer4 = self.get_submodule(self.name)(x)
        logits_8s, logits_16s = self.score_8s(layer2), self.score_16s(layer3)
        logits_16s = logits_16s + stretch(self.score_32s(layer4), logits_16s)
        logits_8s = logits_8s + stretch(logits_16s, logits_8s)
        return stretch(logits_8s, x)


def stretch(scores: Tensor, like: Tensor) -> Tensor:
    """``upsample_bilinear``"""
    return F.interpolate(scores, like.shape[2:], mode="bilinear", align_corners=True)


def save(net: nn.Module, path: Path) -> Path:
    """Its files are of a torch before 0.4.1, which did not count batches."""
    state = {key: value for key, value in net.state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


@pytest.mark.proves(
    "warmspringwinds",
    "warmspringwinds-fcn-resnet18",
    "resnet18_8s.conv1.weight",
    "resnet18_16s.conv1.weight",
    "resnet18_32s.conv1.weight",
)
@pytest.mark.proves(
    "warmspringwinds",
    "warmspringwinds-fcn-resnet34",
    "resnet34_8s.conv1.weight",
    "resnet34_16s.conv1.weight",
    "resnet34_32s.conv1.weight",
)
@pytest.mark.proves(
    "warmspringwinds",
    "warmspringwinds-fcn-resnet50",
    "resnet50_8s.conv1.weight",
    "resnet50_16s.conv1.weight",
    "resnet50_32s.conv1.weight",
)
@pytest.mark.proves(
    "warmspringwinds",
    "warmspringwinds-fcn-resnet101",
    "resnet101_8s.conv1.weight",
    "resnet101_16s.conv1.weight",
    "resnet101_32s.conv1.weight",
)
def test_dilated(proof: Proof, seeded: Callable[[Any], Any], tmp_path: Path) -> None:
    depth, stride = proof.variant.removeprefix("resnet").partition("s.")[0].split("_")
    net = seeded(ResnetDilated(int(depth), int(stride)))
    proof.compare(save(net, tmp_path / f"{net.name}_pascal_voc.pth"), net)
    if net.name == "resnet50_8s":
        net = seeded(ResnetDilated(50, 16, "resnet50_8s"))
        proof.compare(save(net, tmp_path / "resnet_50_16s_best.pth"), net)


@pytest.mark.proves("warmspringwinds", "warmspringwinds-fcn-resnet9")
def test_the_first_block_of_each_layer(proof: Proof, seeded: Callable[[Any], Any], tmp_path: Path) -> None:
    net = seeded(Resnet9())
    proof.compare(save(net, tmp_path / "resnet_9_8s.pth"), net)


@pytest.mark.proves("warmspringwinds", "warmspringwinds-fcn8s-resnet18")
@pytest.mark.proves("warmspringwinds", "warmspringwinds-fcn8s-resnet34")
@pytest.mark.proves("warmspringwinds", "warmspringwinds-fcn8s-resnet50")
def test_skips(proof: Proof, seeded: Callable[[Any], Any], tmp_path: Path) -> None:
    net = seeded(ResnetFCN(int(proof.arch.rpartition("resnet")[2])))
    proof.compare(save(net, tmp_path / "resnet_8s_best.pth"), net)
