"""The VGG FCNs with the authors' layer names against literal renderings of their ``net.py`` and of pytorch-semseg."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeAlias

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fcnrt.errors import InputError
from fcnrt.models import FCN
from fcnrt.models.nyud_fcn import NYUDEarlyFusionFCN32s, NYUDLateFusionFCN32s
from fcnrt.models.ptsemseg_fcn import PtsemsegFCN8s, PtsemsegFCN16s, PtsemsegFCN32s
from fcnrt.models.siftflow_fcn import SiftFlowFCN8s, SiftFlowFCN16s, SiftFlowFCN32s
from fcnrt.models.vgg_fcn import FCN8s, FCN8sAtOnce, FCN16s, FCN32s
from fcnrt.models.zijundeng_fcn import ZijundengFCN16s

WIDTH = 1 / 64
Weights: TypeAlias = dict[str, Tensor]
Randomize: TypeAlias = Callable[[Any], Any]
Compare: TypeAlias = Callable[[Tensor, Tensor], float]
Fuse: TypeAlias = Callable[[FCN, Tensor], Any]
Table: TypeAlias = tuple[tuple[tuple[str, str, int, float], ...], tuple[str, int, int]]
"""A decoder: (transposed convolution, skip, crop, scale) for each stage; the last one's name, stride and crop."""


def conv(p: Weights, name: str, x: Tensor, padding: int = 0) -> Tensor:
    return F.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"], padding=padding)


def caffe_trunk(p: Weights, x: Tensor, suffix: str = "", first: str = "conv1_1") -> dict[str, Tensor]:
    """``net.py``, from ``conv1_1`` to ``fc7``."""
    maps = {}
    for block, depth in ((1, 2), (2, 2), (3, 3), (4, 3), (5, 3)):
        for index in range(1, depth + 1):
            name = first if (block, index) == (1, 1) else f"conv{block}_{index}"
            x = F.relu(conv(p, name + suffix, x, padding=100 if (block, index) == (1, 1) else 1))
        x = maps[f"pool{block}"] = F.max_pool2d(x, 2, 2, ceil_mode=True)
    maps["fc7"] = F.relu(conv(p, "fc7" + suffix, F.relu(conv(p, "fc6" + suffix, x))))
    return maps


def interpolate(x: Tensor, like: Tensor, rule: str) -> Tensor:
    size = (like.shape[2], like.shape[3])
    if rule == "nearest":
        return F.interpolate(x, size, mode="nearest")
    return F.interpolate(x, size, mode="bilinear", align_corners=rule == "align_corners")


def caffe_decoder(p: Weights, maps: dict[str, Tensor], size: tuple[int, int], table: Table, suffix: str = "") -> Tensor:
    """``net.py``, from ``score_fr`` on."""
    steps, (name, stride, offset) = table
    score = conv(p, f"score_fr{suffix}", maps["fc7"])
    for deconv, pool, skip_offset, scale in steps:
        score = F.conv_transpose2d(score, p[f"{deconv}{suffix}.weight"], stride=2)
        skip = conv(p, f"score_{pool}{suffix}", scale * maps[pool])
        rows, columns = (slice(skip_offset, skip_offset + length) for length in score.shape[2:])
        score = score + skip[:, :, rows, columns]
    score = F.conv_transpose2d(score, p[f"{name}{suffix}.weight"], stride=stride)
    return score[:, :, offset : offset + size[0], offset : offset + size[1]]


STAGED32: Table = ((), ("upscore", 32, 19))
STAGED16: Table = ((("upscore2", "pool4", 5, 1.0),), ("upscore16", 16, 27))
STAGED8: Table = ((("upscore2", "pool4", 5, 1.0), ("upscore_pool4", "pool3", 9, 1.0)), ("upscore8", 8, 31))
SCALED16: Table = ((("upscore2", "pool4", 5, 0.01),), ("upscore16", 16, 27))
SCALED8: Table = ((("upscore2", "pool4", 5, 0.01), ("upscore_pool4", "pool3", 9, 0.0001)), ("upscore8", 8, 31))


@pytest.mark.parametrize(
    ("build", "table"),
    [
        (FCN32s, STAGED32),
        (FCN16s, STAGED16),
        (FCN8s, STAGED8),
        (FCN8sAtOnce, SCALED8),
        (ZijundengFCN16s, SCALED16),
    ],
)
def test_voc(build: Any, table: Table, randomized: Randomize, relative_error: Compare, fused_logits: Fuse) -> None:
    net = randomized(build(5, width=WIDTH))
    p = net.state_dict()
    for size in ((1, 1), (37, 50)):
        x = torch.randn(2, 3, *size)
        expected = caffe_decoder(p, caffe_trunk(p, x), size, table)
        assert relative_error(net(x), expected) < 1e-5
        assert relative_error(fused_logits(net, x), expected) < 1e-5


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
@pytest.mark.parametrize(("build", "skips"), [(PtsemsegFCN32s, 0), (PtsemsegFCN16s, 1), (PtsemsegFCN8s, 2)])
def test_ptsemseg(
    build: Any,
    skips: int,
    rule: str,
    randomized: Randomize,
    relative_error: Compare,
    fused_logits: Fuse,
) -> None:
    net = randomized(build(5, width=WIDTH, rule=rule))
    p = net.state_dict()
    for size in ((1, 1), (37, 50)):
        x = torch.randn(2, 3, *size)
        maps = caffe_trunk(p, x)
        score = conv(p, "score_fr", maps["fc7"])
        for pool in ("pool4", "pool3")[:skips]:
            skip = conv(p, f"score_{pool}", maps[pool])
            score = interpolate(score, skip, rule) + skip
        expected = interpolate(score, x, rule)
        assert relative_error(net(x), expected) < 1e-5
        assert relative_error(fused_logits(net, x), expected) < 1e-5


def test_ptsemseg_rule() -> None:
    with pytest.raises(InputError, match="unknown rule 'bilinear'; expected 'half_pixel', 'align_corners', 'nearest'"):
        PtsemsegFCN8s(rule="bilinear")  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize(
    ("build", "table"), [(SiftFlowFCN32s, STAGED32), (SiftFlowFCN16s, STAGED16), (SiftFlowFCN8s, STAGED8)]
)
def test_siftflow(build: Any, table: Table, randomized: Randomize, relative_error: Compare, fused_logits: Fuse) -> None:
    net = randomized(build(7, width=WIDTH, geometric_classes=4))
    assert net.head_classes == {"sem": 7, "geo": 4}
    p = net.state_dict()
    for size in ((1, 1), (37, 50)):
        x = torch.randn(2, 3, *size)
        maps = caffe_trunk(p, x)
        found, fused = net(x), fused_logits(net, x)
        assert list(found) == list(fused) == ["sem", "geo"]
        for head in found:
            expected = caffe_decoder(p, maps, size, table, f"_{head}")
            assert relative_error(found[head], expected) < 1e-5
            assert relative_error(fused[head], expected) < 1e-5


@pytest.mark.parametrize("size", [(1, 1), (37, 50)])
def test_nyud(size: tuple[int, int], randomized: Randomize, relative_error: Compare, fused_logits: Fuse) -> None:
    early, late = randomized(NYUDEarlyFusionFCN32s(5, width=WIDTH)), randomized(NYUDLateFusionFCN32s(5, width=WIDTH))
    assert (early.in_channels, late.in_channels) == (4, 6)
    for net, x in ((early, torch.randn(2, 4, *size)), (late, torch.randn(2, 6, *size))):
        p = net.state_dict()
        if net is early:
            score = conv(p, "score_fr", caffe_trunk(p, x, first="conv1_1_bgrd")["fc7"])
        else:
            color = conv(p, "score_frcolor", caffe_trunk(p, x[:, :3], "color")["fc7"])
            score = 0.5 * color + 0.5 * conv(p, "score_frhha", caffe_trunk(p, x[:, 3:], "hha")["fc7"])
        expected = F.conv_transpose2d(score, p["upscore.weight"], stride=32)
        expected = expected[:, :, 19 : 19 + size[0], 19 : 19 + size[1]]
        assert relative_error(net(x), expected) < 1e-5
        assert relative_error(fused_logits(net, x), expected) < 1e-5


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
