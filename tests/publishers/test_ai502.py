"""A course's ``FCN_previous.py``: torchvision's classifiers, a 1x1 fc6, ``nn.Upsample(mode="bilinear")``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.publishers.classifiers import SIXTEENTH_OF_ALEXNET, GoogLeNetTrunk, alexnet_features
from tests.publishers.conftest import Proof
from tests.publishers.vgg import CLASSES, features

SIZES = ((65, 95), (129, 71))


def upsample(scores: Tensor, x: Tensor) -> Tensor:
    return F.interpolate(scores, x.shape[2:], mode="bilinear", align_corners=False)


class Sequenced(nn.Module):
    """FCN_AlexNet and FCN_VGG16."""

    def __init__(self, layers: list[nn.Module], channels: int, hidden: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*layers)
        self.classifier_fc = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Dropout2d(),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Dropout2d(),
        )
        self.score = nn.Conv2d(hidden, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        return upsample(self.score(self.classifier_fc(self.features(x))), x)


class FCNGoogLeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        trunk = GoogLeNetTrunk()
        parts = {
            "entry_block": ("conv1", "maxpool1", "conv2", "conv3", "maxpool2"),
            "inception3": ("inception3a", "inception3b", "maxpool3"),
            "inception4": (*(f"inception4{letter}" for letter in "abcde"), "maxpool4"),
            "inception5": ("inception5a", "inception5b"),
        }
        for name, layers in parts.items():
            self.add_module(name, nn.Sequential(*map(trunk.get_submodule, layers)))
        self.parts = list(parts)
        self.score = nn.Conv2d(trunk.channels, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for name in self.parts:
            y = self.get_submodule(name)(y)
        return upsample(self.score(y), x)


@pytest.mark.proves("AI502", "ai502-fcn-alexnet")
@pytest.mark.proves("AI502", "ai502-fcn-vgg16")
@pytest.mark.proves("AI502", "ai502-fcn-googlenet")
def test_forward_pass(proof: Proof, seeded: Callable[[Any], Any], tmp_path: Path) -> None:
    net: nn.Module = {
        "ai502-fcn-alexnet": lambda: Sequenced(alexnet_features(SIXTEENTH_OF_ALEXNET), 16, 256),
        "ai502-fcn-vgg16": lambda: Sequenced(features(), 16, 128),
        "ai502-fcn-googlenet": FCNGoogLeNet,
    }[proof.arch]()
    seeded(net)
    torch.save(net.state_dict(), tmp_path / "model.pth")
    proof.compare(tmp_path / "model.pth", net, sizes=SIZES)
