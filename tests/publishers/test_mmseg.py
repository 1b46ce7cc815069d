"""open-mmlab/mmsegmentation's FCN, by the configurations of ``configs/fcn``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcnrt.models.mmseg_fcn import MMSegFCN
from tests.publishers.conftest import Proof, assert_alike
from tests.publishers.resnet import CLASSES, Stage, Trunk

STAGES = {
    "1, 2, 1, 1": ("1, 1, 2, 4", (Stage(), Stage(2), Stage(1, 1, 2), Stage(1, 2, 4))),
    "1, 2, 2, 1": ("1, 1, 1, 2", (Stage(), Stage(2), Stage(2), Stage(1, 1, 2))),
    "1, 2, 2, 2": ("1, 1, 1, 1", (Stage(), Stage(2), Stage(2), Stage(2))),
}
"""Strides -> dilations, and both with ``contract_dilation``, which halves the first block's."""


class ConvModule(nn.Module):
    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class FCNHead(nn.Module):
    """``concat_input`` for the main head; ``conv_cat`` is never dilated."""

    def __init__(self, channels: int, num_convs: int, concat_input: bool, dilation: int) -> None:
        super().__init__()
        inner = channels // 4
        self.convs = nn.Sequential(
            *(ConvModule(inner if index else channels, inner, dilation) for index in range(num_convs))
        )
        self.conv_cat = ConvModule(channels + inner, inner) if concat_input else None
        self.dropout = nn.Dropout2d(0.1)
        self.conv_seg = nn.Conv2d(inner, CLASSES, 1)

    def forward(self, x: Tensor) -> Any:
        y = self.convs(x)
        if self.conv_cat is not None:
            y = self.conv_cat(torch.cat([x, y], dim=1))
        return self.conv_seg(self.dropout(y))


class EncoderDecoder(nn.Module):
    def __init__(self, depth: int, strides: str, deep_stem: bool, dilation: int, align_corners: bool) -> None:
        super().__init__()
        self.backbone = Trunk(depth, STAGES[strides][1], deep_stem=deep_stem)
        self.decode_head = FCNHead(self.backbone.channels, 2, True, dilation)
        self.auxiliary_head = FCNHead(self.backbone.channels // 2, 1, False, dilation)
        self.align_corners = align_corners

    def everything(self, x: Tensor) -> dict[str, Tensor]:
        *_, layer3, layer4 = self.backbone(x)
        return {
            name: F.interpolate(scores, x.shape[2:], mode="bilinear", align_corners=self.align_corners)
            for name, scores in (("out", self.decode_head(layer4)), ("aux", self.auxiliary_head(layer3)))
        }

    def forward(self, x: Tensor) -> Tensor:
        return self.everything(x)["out"]


CONFIG = """
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    backbone=dict(type='{kind}', depth={depth}, dilations=({dilations}), strides=({strides}), contract_dilation=True),
    decode_head=dict(type='FCNHead', num_convs=2, concat_input=True{head}, align_corners={corners}),
    auxiliary_head=dict(type='FCNHead', num_convs=1, concat_input=False{head}, align_corners={corners}))
"""

CONFIGURATIONS: dict[str, tuple[str, bool, int, bool]] = {
    "d8": ("1, 2, 1, 1", True, 1, False),
    "d8, 769x769": ("1, 2, 1, 1", True, 1, True),
    "b-d8": ("1, 2, 1, 1", False, 1, False),
    "d6, d16": ("1, 2, 2, 1", True, 6, False),
    "d6, b-d16, 769x769": ("1, 2, 2, 1", False, 6, True),
    "d32": ("1, 2, 2, 2", True, 1, False),
}


def check(proof: Proof, configuration: str, seeded: Callable[[Any], Any], folder: Path) -> None:
    """With the configuration's text beside the weights, as mmseg saves it."""
    strides, deep_stem, dilation, corners = CONFIGURATIONS[configuration]
    depth = int(proof.arch.removeprefix("mmseg-fcn-resnet"))
    net = seeded(EncoderDecoder(depth, strides, deep_stem, dilation, corners))
    text = CONFIG.format(
        kind="ResNetV1c" if deep_stem else "ResNet",
        depth=depth,
        strides=strides,
        dilations=STAGES[strides][0],
        head=f", dilation={dilation}" if dilation > 1 else "",
        corners=corners,
    )
    names, palette = tuple("abcde"), [[index, 2, 3] for index in range(5)]
    meta = {"mmseg_version": "0.30.0", "config": text, "CLASSES": names, "PALETTE": palette}
    path = folder / "latest.pth"
    torch.save({"meta": meta, "state_dict": net.state_dict(), "optimizer": {"state": {}, "param_groups": []}}, path)
    model = proof.compare(path, net)
    assert model.spec.classes == names
    x = torch.randn(2, 3, 33, 47)
    assert isinstance(model.reference, MMSegFCN)
    assert_alike(model.reference.training_logits(x), net.everything(x.double()))


@pytest.mark.proves("mmseg", "mmseg-fcn-resnet18")
@pytest.mark.proves("mmseg", "mmseg-fcn-resnet50")
@pytest.mark.parametrize("configuration", CONFIGURATIONS)
def test_configurations(proof: Proof, configuration: str, seeded: Callable[[Any], Any], tmp_path: Path) -> None:
    check(proof, configuration, seeded, tmp_path)


@pytest.mark.proves("mmseg", "mmseg-fcn-resnet34")
@pytest.mark.proves("mmseg", "mmseg-fcn-resnet101")
def test_other_depths(proof: Proof, seeded: Callable[[Any], Any], tmp_path: Path) -> None:
    check(proof, "d8", seeded, tmp_path)
