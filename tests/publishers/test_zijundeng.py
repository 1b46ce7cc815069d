"""zijundeng/pytorch-semantic-segmentation: the authors' nets, with the at-once net's scales in FCN-16s too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.publishers.conftest import Proof
from tests.publishers.vgg import CHANNELS, classifier, crop, deconvolution, features, magnify, score


class FCN32VGG(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features5 = nn.Sequential(*features(padding=100, ceil_mode=True))
        self.score_fr = nn.Sequential(*classifier())
        self.upscore = deconvolution(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        return crop(self.upscore(self.score_fr(self.features5(x))), 19, x)


class FCN16VGG(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers = features(padding=100, ceil_mode=True)
        self.features4, self.features5 = nn.Sequential(*layers[:24]), nn.Sequential(*layers[24:])
        self.score_pool4 = score(CHANNELS[3])
        self.score_fr = nn.Sequential(*classifier())
        self.upscore2, self.upscore16 = deconvolution(4, 2), deconvolution(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        pool4 = self.features4(x)
        y = self.upscore2(self.score_fr(self.features5(pool4)))
        y = self.upscore16(crop(self.score_pool4(0.01 * pool4), 5, y) + y)
        return crop(y, 27, x)


class FCN8s(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers = features(padding=100, ceil_mode=True)
        self.features3, self.features4 = nn.Sequential(*layers[:17]), nn.Sequential(*layers[17:24])
        self.features5 = nn.Sequential(*layers[24:])
        self.score_pool3, self.score_pool4 = score(CHANNELS[2]), score(CHANNELS[3])
        self.score_fr = nn.Sequential(*classifier())
        self.upscore2, self.upscore_pool4 = deconvolution(4, 2), deconvolution(4, 2)
        self.upscore8 = deconvolution(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        pool3 = self.features3(x)
        pool4 = self.features4(pool3)
        y = self.upscore2(self.score_fr(self.features5(pool4)))
        y = self.upscore_pool4(crop(self.score_pool4(0.01 * pool4), 5, y) + y)
        y = self.upscore8(crop(self.score_pool3(0.0001 * pool3), 9, y) + y)
        return crop(y, 31, x)


@pytest.mark.proves("zijundeng", "fcn32s")
@pytest.mark.proves("zijundeng", "zijundeng-fcn16s")
@pytest.mark.proves("zijundeng", "fcn8s-atonce")
def test_forward_pass(proof: Proof, seeded: Callable[[Any], Any], tmp_path: Path) -> None:
    net = seeded({"fcn32s": FCN32VGG, "zijundeng-fcn16s": FCN16VGG, "fcn8s-atonce": FCN8s}[proof.arch]())
    skips = {"fcn32s": [], "zijundeng-fcn16s": ["score_pool4"], "fcn8s-atonce": ["score_pool4", "score_pool3"]}
    magnify(map(net.get_submodule, skips[proof.arch]), (1e2, 1e4))
    path = tmp_path / "epoch_30_loss_0.15_acc_0.9_acc-cls_0.8_mean-iu_0.69_fwavacc_0.85_lr_0.0000000001.pth"
    torch.save(net.state_dict(), path, _use_new_zipfile_serialization=False)
    proof.compare(path, net, sizes=((1, 1), (33, 47)))
