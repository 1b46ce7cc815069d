"""meetps/pytorch-semseg: with transposed convolutions the authors' FCN-8s, without them scores that are stretched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.publishers.conftest import Proof
from tests.publishers.vgg import CHANNELS, classifier, crop, deconvolution, features, score

BLOCKS = ((0, 5), (5, 10), (10, 17), (17, 24), (24, 31))
SKIPS = {"fcn32s": (), "fcn16s": (4,), "fcn8s": (4, 3)}


class SemsegFCN(nn.Module):
    """fcn32s, fcn16s and fcn8s.

    Args:
        skips: Pools that are scored.
        upsample: What stretches scores to a size; None for ``learned_billinear``.
    """

    def __init__(self, skips: tuple[int, ...], upsample: Callable[[Tensor, Any], Tensor] | None) -> None:
        super().__init__()
        layers = features(padding=100, ceil_mode=True)
        for index, (start, stop) in enumerate(BLOCKS, start=1):
            self.add_module(f"conv_block{index}", nn.Sequential(*layers[start:stop]))
        self.classifier = nn.Sequential(*classifier())
        for pool in skips:
            self.add_module(f"score_pool{pool}", score(CHANNELS[pool - 1]))
        if upsample is None:
            self.upscore2, self.upscore4 = deconvolution(4, 2), deconvolution(4, 2)
            self.upscore8 = deconvolution(16, 8)
        self.skips, self.upsample = skips, upsample

    def forward(self, x: Tensor) -> Tensor:
        pools, y = {}, x
        for index in range(1, 6):
            y = pools[index] = self.get_submodule(f"conv_block{index}")(y)
        y = self.classifier(y)
        skips = {pool: self.get_submodule(f"score_pool{pool}")(pools[pool]) for pool in self.skips}
        if self.upsample is None:
            y = self.upscore2(y)
            y = self.upscore4(y + crop(skips[4], 5, y))
            y = self.upscore8(crop(skips[3], 9, y) + y)
            return crop(y, 31, x)
        for skip in skips.values():
            y = self.upsample(y, skip.shape[2:]) + skip
        return self.upsample(y, x.shape[2:])


def save(net: nn.Module, path: Path) -> None:
    state = {
        "epoch": 90000,
        "model_state": nn.DataParallel(net).state_dict(),
        "optimizer_state": {"state": {}, "param_groups": []},
        "scheduler_state": {"last_epoch": 90000},
        "best_iou": np.float64(0.5),
    }
    torch.save(state, path)


@pytest.mark.proves("ptsemseg", "fcn8s")
def test_learned_bilinear(proof: Proof, seeded: Callable[[Any], Any], tmp_path: Path) -> None:
    net = seeded(SemsegFCN(SKIPS["fcn8s"], None))
    path = tmp_path / "fcn8s_pascal_best_model.pkl"
    save(net, path)
    assert proof.compare(path, net, sizes=((1, 1), (33, 47))).spec.normalization.name == "imagenet"


def until_october_2018(x: Tensor, size: Any) -> Tensor:
    """``F.upsample_bilinear``."""
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def since_october_2018(x: Tensor, size: Any) -> Tensor:
    """``F.upsample`` without a mode."""
    return F.interpolate(x, size, mode="nearest")


@pytest.mark.proves("ptsemseg", "ptsemseg-fcn32s")
@pytest.mark.proves("ptsemseg", "ptsemseg-fcn16s")
@pytest.mark.proves("ptsemseg", "ptsemseg-fcn8s")
@pytest.mark.parametrize(
    ("upsample", "said"),
    [
        (until_october_2018, {}),
        (until_october_2018, {"options": {"rule": "align_corners"}}),
        (since_october_2018, {"options": {"rule": "nearest"}}),
    ],
    ids=["by default", "align_corners", "nearest"],
)
def test_stretched(
    proof: Proof, upsample: Any, said: dict[str, Any], seeded: Callable[[Any], Any], tmp_path: Path
) -> None:
    name = proof.arch.removeprefix("ptsemseg-")
    net = seeded(SemsegFCN(SKIPS[name], upsample))
    path = tmp_path / f"{name}_camvid_best_model.pkl"
    save(net, path)
    assert proof.compare(path, net, sizes=((1, 1), (33, 47)), **said).spec.normalization.name == "ptsemseg"
