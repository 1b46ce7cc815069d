"""pytorch/vision's ``fcn_resnet*``, from its hub and from its reference trainer, and what clones it."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fcnrt
from fcnrt.models.resnet_fcn import TorchvisionFCN
from tests.publishers.conftest import Proof, assert_alike
from tests.publishers.resnet import CLASSES, Stage, Trunk

PLAIN = (Stage(), Stage(2), Stage(2), Stage(2))
DILATED = (Stage(), Stage(2), Stage(1, 1, 2), Stage(1, 2, 4))
"""``replace_stride_with_dilation=[False, True, True]``: the first block of a stage has the dilation before it."""


def head(channels: int) -> nn.Sequential:
    inner = channels // 4
    conv = nn.Conv2d(channels, inner, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(inner), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(inner, CLASSES, 1))


class FCN(nn.Module):
    def __init__(self, depth: int, aux: bool) -> None:
        super().__init__()
        self.backbone = Trunk(depth, DILATED if depth >= 50 else PLAIN)
        self.classifier = head(self.backbone.channels)
        self.aux_classifier = head(self.backbone.channels // 2) if aux else None

    def everything(self, x: Tensor) -> dict[str, Tensor]:
        *_, layer3, layer4 = self.backbone(x)
        scores = {"out": self.classifier(layer4)}
        if self.aux_classifier is not None:
            scores["aux"] = self.aux_classifier(layer3)
        size = x.shape[2:]
        return {name: F.interpolate(y, size, mode="bilinear", align_corners=False) for name, y in scores.items()}

    def forward(self, x: Tensor) -> Tensor:
        return self.everything(x)["out"]


@pytest.mark.proves("torchvision", "fcn-resnet18")
@pytest.mark.proves("torchvision", "fcn-resnet34")
@pytest.mark.proves("torchvision", "fcn-resnet50")
@pytest.mark.proves("torchvision", "fcn-resnet101")
@pytest.mark.parametrize("aux", [True, False], ids=["hub", "trainer"])
def test_forward_pass(proof: Proof, aux: bool, seeded: Callable[[Any], Any], tmp_path: Path) -> None:
    """The hub's files are bare and have an auxiliary head; ``references/segmentation/train.py`` makes one only when
    asked, and puts a Namespace beside the weights."""
    net = seeded(FCN(int(proof.arch.removeprefix("fcn-resnet")), aux))
    name = proof.arch.replace("-", "_")
    if not aux:
        path = tmp_path / "model_29.pth"
        arguments = argparse.Namespace(dataset="coco", model=name, aux_loss=aux, lr=0.02)
        state = {"model": net.state_dict(), "optimizer": {"state": {}}, "lr_scheduler": {"last_epoch": 9}, "epoch": 29}
        torch.save({**state, "args": arguments}, path)
    else:
        path = tmp_path / f"{name}_coco-1167a1af.pth"
        torch.save(OrderedDict(net.state_dict()), path)
    model = proof.compare(path, net)
    if aux:
        x = torch.randn(2, 3, 33, 47)
        assert isinstance(model.reference, TorchvisionFCN)
        assert_alike(model.reference.training_logits(x), net.everything(x.double()))


@pytest.mark.parametrize("depth", [50, 101])
def test_package(depth: int, tmp_path: Path) -> None:
    """The full nets, with torchvision's own modules."""
    try:
        segmentation = pytest.importorskip("torchvision.models.segmentation")
    except RuntimeError as error:
        pytest.skip(f"torchvision does not go with this torch: {error}")
    net = getattr(segmentation, f"fcn_resnet{depth}")(weights=None, weights_backbone=None, aux_loss=True).eval()
    torch.save(net.state_dict(), tmp_path / f"fcn_resnet{depth}_coco.pth")
    model = fcnrt.load(tmp_path / f"fcn_resnet{depth}_coco.pth", device="cpu", dtype=torch.float32)
    x = torch.randn(1, 3, 33, 47)
    with torch.inference_mode():
        assert_alike({"out": model(x)}, {"out": net.double()(x.double())["out"]})
