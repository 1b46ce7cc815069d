"""The VGG FCNs with the authors' layer names: crops, rules, names and shapes. ``tests/publishers`` has their logits."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor

from fcnrt.errors import InputError
from fcnrt.models import FCN
from fcnrt.models.nyud_fcn import NYUDEarlyFusionFCN32s, NYUDLateFusionFCN32s
from fcnrt.models.ptsemseg_fcn import PtsemsegFCN8s, PtsemsegFCN16s, PtsemsegFCN32s
from fcnrt.models.siftflow_fcn import SiftFlowFCN8s
from fcnrt.models.vgg_fcn import FCN8s, FCN16s, FCN32s

WIDTH = 1 / 64
Randomize: TypeAlias = Callable[[Any], Any]
Compare: TypeAlias = Callable[[Tensor, Tensor], float]
Fuse: TypeAlias = Callable[[FCN, Tensor], Any]


def test_the_crops_are_caffes_coordinate_map() -> None:
    """``coord_map.py``: where the image's first pixel lies on each map, and how far it has to move."""
    pools = [Fraction(100) - 1]
    for _ in range(5):
        pools.append((pools[-1] - Fraction(1, 2)) / 2)
    fc7 = pools[5] - 3
    upscore2 = 2 * fc7 + Fraction(3, 2)
    upscore_pool4 = 2 * upscore2 + Fraction(3, 2)
    assert 32 * fc7 + Fraction(63, 2) == FCN32s.DECODER.crop == 19
    assert pools[4] - upscore2 == FCN16s.DECODER.stages[0].skip.crop == 5
    assert 16 * upscore2 + Fraction(31, 2) == FCN16s.DECODER.crop == 27
    assert pools[3] - upscore_pool4 == FCN8s.DECODER.stages[1].skip.crop == 9
    assert 8 * upscore_pool4 + Fraction(15, 2) == FCN8s.DECODER.crop == 31


@pytest.mark.parametrize("rule", ["align_corners", "nearest", "half_pixel"])
@pytest.mark.parametrize("build", [PtsemsegFCN32s, PtsemsegFCN16s, PtsemsegFCN8s])
def test_ptsemseg_rules_in_the_fused_engine(
    build: Any, rule: str, randomized: Randomize, relative_error: Compare, fused_logits: Fuse
) -> None:
    net = randomized(build(5, width=WIDTH, rule=rule))
    for size in ((1, 1), (37, 50)):
        x = torch.randn(2, 3, *size)
        assert relative_error(fused_logits(net, x), net(x)) < 1e-5


def test_ptsemseg_rule() -> None:
    with pytest.raises(InputError, match="unknown rule 'bilinear'; expected 'half_pixel', 'align_corners', 'nearest'"):
        PtsemsegFCN8s(rule="bilinear")  # type: ignore[arg-type]  # the point of the test


def test_names_and_shapes() -> None:
    def shapes(net: FCN) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}

    with torch.device("meta"):
        fcn8s, fcn32s = shapes(FCN8s(33)), shapes(FCN32s(40))
        ptsemseg, siftflow = shapes(PtsemsegFCN8s(33)), shapes(SiftFlowFCN8s())
        early, late = shapes(NYUDEarlyFusionFCN32s()), shapes(NYUDLateFusionFCN32s())
    assert ptsemseg == {name: shape for name, shape in fcn8s.items() if not name.startswith("upscore")}

    assert {name for name in siftflow if "_sem" in name} == {
        *(f"{layer}_sem.{part}" for layer in ("score_fr", "score_pool4", "score_pool3") for part in ("weight", "bias")),
        *(f"{layer}_sem.weight" for layer in ("upscore2", "upscore_pool4", "upscore8")),
    }
    assert {name.replace("_sem", ""): shape for name, shape in siftflow.items() if "_geo" not in name} == fcn8s
    assert siftflow["score_pool3_geo.weight"] == (3, 256, 1, 1)
    assert siftflow["upscore8_geo.weight"] == (3, 3, 16, 16)

    assert early.pop("conv1_1_bgrd.weight") == (64, 4, 3, 3)
    assert early.pop("conv1_1_bgrd.bias") == (64,)
    assert early == {name: shape for name, shape in fcn32s.items() if not name.startswith("conv1_1.")}
    assert late.pop("upscore.weight") == fcn32s.pop("upscore.weight")
    assert late == {
        f"{layer}{modality}.{part}": shape
        for modality in ("color", "hha")
        for (layer, _, part), shape in ((name.partition("."), shape) for name, shape in fcn32s.items())
    }
