"""pochih/FCN-pytorch, and bat67/pytorch-FCN-easiest-demo after it: whole pickled modules, learned upsampling."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.publishers.conftest import Proof
from tests.publishers.vgg import CHANNELS, CLASSES, DEPTHS, features

UPSAMPLED = (16, 8, 4, 2, 1)
ADDED_BEFORE = {"FCN32s": 0, "FCN16s": 1, "FCN8s": 2, "FCNs": 0}
"""Class -> how many of the pooled maps are added before batch normalization; ``FCNs`` adds four after it."""


class VGGNet(nn.Module):
    def __init__(self, trunk: str) -> None:
        super().__init__()
        self.features = nn.Sequential(*features(trunk))

    def forward(self, x: Tensor) -> list[Tensor]:
        pools = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pools.append(x)
        return pools


class PochihFCN(nn.Module):
    def __init__(self, trunk: str, added_before: int, added_after: int) -> None:
        super().__init__()
        self.pretrained_net = VGGNet(trunk)
        self.relu = nn.ReLU(inplace=True)
        before = CHANNELS[-1]
        for step, channels in enumerate(UPSAMPLED, start=1):
            self.add_module(f"deconv{step}", nn.ConvTranspose2d(before, channels, 3, 2, 1, output_padding=1))
            self.add_module(f"bn{step}", nn.BatchNorm2d(channels))
            before = channels
        self.classifier = nn.Conv2d(before, CLASSES, 1)
        self.added_before, self.added_after = added_before, added_after

    def forward(self, x: Tensor) -> Any:
        *pools, y = self.pretrained_net(x)
        for step in range(1, 6):
            y = self.relu(self.get_submodule(f"deconv{step}")(y))
            if step <= self.added_before:
                y = y + pools[-step]
            y = self.get_submodule(f"bn{step}")(y)
            if step <= self.added_after:
                y = y + pools[-step]
        return self.classifier(y)


@pytest.fixture
def save(monkeypatch: pytest.MonkeyPatch) -> Callable[[PochihFCN, Any, str, Path], None]:
    """``torch.save`` of objects whose classes are in a module ``fcn``, which is gone afterwards."""

    def save(net: PochihFCN, wrap: Any, name: str, path: Path) -> None:
        module = types.ModuleType("fcn")
        for part, called in ((net, name), (net.pretrained_net, "VGGNet")):
            part.__class__ = type(called, (type(part),), {"__module__": "fcn"})
            setattr(module, called, type(part))
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "fcn", module)
            torch.save(wrap(net), path)

    return save


@pytest.mark.proves("pochih", "pochih-fcn32s")
@pytest.mark.proves("pochih", "pochih-fcn16s")
@pytest.mark.proves("pochih", "pochih-fcn8s")
@pytest.mark.proves("pochih", "pochih-fcns")
@pytest.mark.parametrize(
    ("trunk", "wrap"),
    [*((trunk, nn.DataParallel) for trunk in DEPTHS), ("vgg16", lambda net: net)],
    ids=[*DEPTHS, "bat67's vgg16"],
)
def test_pickled_module(
    proof: Proof, trunk: str, wrap: Any, save: Any, seeded: Callable[[Any], Any], tmp_path: Path
) -> None:
    """At the sizes that the program takes, multiples of 32."""
    name = {"fcns": "FCNs"}.get(proof.arch.removeprefix("pochih-"), "FCN" + proof.arch.removeprefix("pochih-fcn"))
    net = seeded(PochihFCN(trunk, ADDED_BEFORE[name], 4 if name == "FCNs" else 0))
    path = tmp_path / "model-BCEWithLogits_batch6_epoch500_RMSprop_scheduler-step50-gamma0.5_lr0.0001"
    save(net, wrap, name, path)
    model = proof.compare(path, net, sizes=((32, 96), (64, 32)))
    assert (model.spec.options["trunk"], model.spec.sources["arch"]) == (trunk, "file metadata")
