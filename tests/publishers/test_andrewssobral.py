"""andrewssobral/deep-learning-pytorch, and tutorials after it: VGG16 as torchvision pads it, stretched scores.

The skip nets lose the pools at which they cut VGG16. Copies that cut behind the pools have the same keys.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.publishers.conftest import Proof
from tests.publishers.vgg import CHANNELS, classifier, features, score

CUTS = {"andrewssobral-fcn16s": (-1, 16, 23, 30), "andrewssobral-fcn8s": (-1, 9, 16, 23, 30)}
"""Where ``features`` is cut: at pools, of which the pieces have none."""


def stretch(x: Tensor, like: Tensor, align_corners: bool = True) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=align_corners)


class FCN32(nn.Module):
    def __init__(self, align_corners: bool) -> None:
        super().__init__()
        *layers, self.score = classifier()
        self.feats, self.fconn = nn.Sequential(*features()), nn.Sequential(*layers)
        self.align_corners = align_corners

    def forward(self, x: Tensor) -> Tensor:
        return stretch(self.score(self.fconn(self.feats(x))), x, self.align_corners)


class SkipFCN(nn.Module):
    """FCN16 and FCN8."""

    def __init__(self, cuts: tuple[int, ...], pooled: bool) -> None:
        super().__init__()
        layers = features()
        self.pieces = ["feats", "feat3", "feat4", "feat5"] if len(cuts) == 5 else ["feats", "feat4", "feat5"]
        *head, self.score_fconn = classifier()
        self.fconn = nn.Sequential(*head)
        self.skips = [4, 3] if len(cuts) == 5 else [4]
        for skip in self.skips:
            self.add_module(f"score_feat{skip}", score(CHANNELS[skip - 1]))
        for name, start, stop in zip(self.pieces, cuts, cuts[1:], strict=False):
            self.add_module(name, nn.Sequential(*layers[start + 1 : stop + pooled]))

    def forward(self, x: Tensor) -> Tensor:
        maps, y = {}, x
        for name in self.pieces:
            y = maps[name] = self.get_submodule(name)(y)
        y = self.score_fconn(self.fconn(y))
        for skip in self.skips:
            scores = self.get_submodule(f"score_feat{skip}")(maps[f"feat{skip}"])
            y = stretch(y, scores) + scores
        return stretch(y, x)


@pytest.mark.proves("andrewssobral", "andrewssobral-fcn32s")
@pytest.mark.parametrize(
    ("align_corners", "said"),
    [(True, {}), (False, {"options": {"rule": "half_pixel"}})],
    ids=["upsample_bilinear", "interpolate"],
)
def test_fcn32(
    proof: Proof, align_corners: bool, said: dict[str, Any], seeded: Callable[[Any], Any], tmp_path: Path
) -> None:
    """The original calls ``F.upsample_bilinear``, and copies ``F.interpolate``."""
    net = seeded(FCN32(align_corners))
    torch.save(net.state_dict(), tmp_path / "fcn32.pth")
    proof.compare(tmp_path / "fcn32.pth", net, sizes=((225, 287), (321, 233)), **said)


@pytest.mark.proves("andrewssobral", "andrewssobral-fcn16s")
@pytest.mark.proves("andrewssobral", "andrewssobral-fcn8s")
@pytest.mark.parametrize(
    ("pooled", "said", "sizes"),
    [(False, {}, ((29, 47), (65, 33))), (True, {"options": {"pooled": True}}, ((225, 259),))],
    ids=["the original", "copies"],
)
def test_skip_nets(
    proof: Proof,
    pooled: bool,
    said: dict[str, Any],
    sizes: tuple[tuple[int, int], ...],
    seeded: Callable[[Any], Any],
    tmp_path: Path,
) -> None:
    net = seeded(SkipFCN(CUTS[proof.arch], pooled))
    torch.save(net.state_dict(), tmp_path / "state-015-1000.pth")
    proof.compare(tmp_path / "state-015-1000.pth", net, sizes=sizes, **said)
