"""The FCNs on torchvision's VGG trunks against literal renderings of the programs of Tramac and pochih."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fcnrt.errors import InputError
from fcnrt.models import FCN
from fcnrt.models.batchnorm import fold_batchnorm
from fcnrt.models.pochih_fcn import PochihFCN8s, PochihFCN16s, PochihFCN32s, PochihFCNs
from fcnrt.models.tramac_fcn import TramacFCN8s, TramacFCN16s, TramacFCN32s

WIDTH = 1 / 16
DEPTHS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
Weights: TypeAlias = dict[str, Tensor]
Randomize: TypeAlias = Callable[[Any], Any]
Compare: TypeAlias = Callable[[Tensor, Tensor], float]
Fuse: TypeAlias = Callable[[FCN, Tensor], Any]


def conv(p: Weights, name: str, x: Tensor, padding: int = 0) -> Tensor:
    return F.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"], padding=padding)


def torchvision_trunk(p: Weights, prefix: str, depths: tuple[int, ...], x: Tensor) -> dict[str, Tensor]:
    """``vgg*().features``."""
    maps, layer = {}, 0
    for block, depth in enumerate(depths, start=1):
        for _ in range(depth):
            x = F.relu(conv(p, f"{prefix}.{layer}", x, padding=1))
            layer += 2
        layer += 1
        x = maps[f"x{block}"] = F.max_pool2d(x, 2, 2)
    return maps


def norm(p: Weights, name: str, x: Tensor) -> Tensor:
    mean, variance = p[f"{name}.running_mean"], p[f"{name}.running_var"]
    return F.batch_norm(x, mean, variance, p[f"{name}.weight"], p[f"{name}.bias"])


@pytest.mark.parametrize(("build", "skips"), [(TramacFCN32s, 0), (TramacFCN16s, 1), (TramacFCN8s, 2)])
def test_tramac(
    build: Any,
    skips: int,
    randomized: Randomize,
    relative_error: Compare,
    fused_logits: Fuse,
) -> None:
    net = randomized(build(5, width=WIDTH))
    p = net.state_dict()
    for size in ((32, 32), (61, 95)):
        x = torch.randn(2, 3, *size)
        maps = torchvision_trunk(p, "pretrained", DEPTHS["vgg16"], x)
        hidden = F.conv2d(maps["x5"], p["head.block.0.weight"], padding=1)
        score = conv(p, "head.block.4", F.relu(norm(p, "head.block.1", hidden)))
        for level in (4, 3)[:skips]:
            skip = conv(p, f"score_pool{level}", maps[f"x{level}"])
            score = F.interpolate(score, skip.shape[2:], mode="bilinear", align_corners=True) + skip
        expected = F.interpolate(score, size, mode="bilinear", align_corners=True)
        assert relative_error(net(x), expected) < 1e-5
        assert relative_error(fused_logits(net, x), expected) < 1e-5
        folded = copy.deepcopy(net)
        fold_batchnorm(folded)
        assert relative_error(folded(x), expected) < 1e-5


def test_tramac_needs_32_pixels() -> None:
    with pytest.raises(InputError, match=r"an image of 31x64 pixels is too small.*expected at least 32x32"):
        TramacFCN8s(width=WIDTH)(torch.zeros(1, 3, 31, 64))


def pochih_literal(p: Weights, x: Tensor, variant: str, depths: tuple[int, ...]) -> Tensor:
    def up(step: int, x: Tensor) -> Tensor:
        name = f"deconv{step}"
        return F.relu(F.conv_transpose2d(x, p[f"{name}.weight"], p[f"{name}.bias"], 2, 1, 1))

    maps = torchvision_trunk(p, "pretrained_net.features", depths, x)
    score = maps["x5"]
    for step in range(1, 6):
        score = up(step, score)
        if (variant == "16s" and step == 1) or (variant == "8s" and step <= 2):
            score = norm(p, f"bn{step}", score + maps[f"x{5 - step}"])
        else:
            score = norm(p, f"bn{step}", score)
        if variant == "s" and step <= 4:
            score = score + maps[f"x{5 - step}"]
    return conv(p, "classifier", score)


@pytest.mark.parametrize("trunk", DEPTHS)
@pytest.mark.parametrize(
    ("build", "variant"), [(PochihFCN32s, "32s"), (PochihFCN16s, "16s"), (PochihFCN8s, "8s"), (PochihFCNs, "s")]
)
def test_pochih(
    build: Any,
    variant: str,
    trunk: str,
    randomized: Randomize,
    relative_error: Compare,
    fused_logits: Fuse,
) -> None:
    net = randomized(build(5, width=WIDTH, trunk=trunk))
    x = torch.randn(2, 3, 32, 64)
    expected = pochih_literal(net.state_dict(), x, variant, DEPTHS[trunk])
    assert relative_error(net(x), expected) < 1e-5
    assert relative_error(fused_logits(net, x), expected) < 1e-5


@pytest.mark.parametrize("size", [(1, 1), (33, 50), (64, 31)])
def test_pochih_pads_other_sizes(
    size: tuple[int, int], randomized: Randomize, relative_error: Compare, fused_logits: Fuse
) -> None:
    net = randomized(PochihFCNs(5, width=WIDTH))
    canvas = torch.zeros(2, 3, 64, 64)
    x = canvas[:, :, : size[0], : size[1]] = torch.randn(2, 3, *size)
    canvas = canvas[:, :, : -(-size[0] // 32) * 32, : -(-size[1] // 32) * 32]
    expected = pochih_literal(net.state_dict(), canvas, "s", DEPTHS["vgg16"])[:, :, : size[0], : size[1]]
    assert relative_error(net(x), expected) < 1e-5
    assert relative_error(fused_logits(net, x), expected) < 1e-5


def test_pochih_trunk() -> None:
    with pytest.raises(InputError, match="unknown trunk 'resnet50'; expected 'vgg11', 'vgg13', 'vgg16', 'vgg19'"):
        PochihFCNs(trunk="resnet50")


def test_names_and_shapes() -> None:
    with torch.device("meta"):
        nets = TramacFCN8s(19), PochihFCNs(20)
    tramac, pochih = ({name: tuple(tensor.shape) for name, tensor in net.state_dict().items()} for net in nets)
    trunk = {
        f"{index}.{part}": shape[: 4 if part == "weight" else 1]
        for index, shape in {
            0: (64, 3, 3, 3),
            2: (64, 64, 3, 3),
            5: (128, 64, 3, 3),
            7: (128, 128, 3, 3),
            10: (256, 128, 3, 3),
            12: (256, 256, 3, 3),
            14: (256, 256, 3, 3),
            17: (512, 256, 3, 3),
            **dict.fromkeys((19, 21, 24, 26, 28), (512, 512, 3, 3)),
        }.items()
        for part in ("weight", "bias")
    }
    assert tramac == {
        **{f"pretrained.{name}": shape for name, shape in trunk.items()},
        "head.block.0.weight": (128, 512, 3, 3),
        **{f"head.block.1.{part}": (128,) for part in ("weight", "bias", "running_mean", "running_var")},
        "head.block.1.num_batches_tracked": (),
        "head.block.4.weight": (19, 128, 1, 1),
        "head.block.4.bias": (19,),
        "score_pool4.weight": (19, 512, 1, 1),
        "score_pool4.bias": (19,),
        "score_pool3.weight": (19, 256, 1, 1),
        "score_pool3.bias": (19,),
    }
    expected = {f"pretrained_net.features.{name}": shape for name, shape in trunk.items()}
    for step, (inner, outer) in enumerate([(512, 512), (512, 256), (256, 128), (128, 64), (64, 32)], start=1):
        expected |= {f"deconv{step}.weight": (inner, outer, 3, 3), f"deconv{step}.bias": (outer,)}
        expected |= {f"bn{step}.{part}": (outer,) for part in ("weight", "bias", "running_mean", "running_var")}
        expected |= {f"bn{step}.num_batches_tracked": ()}
    assert pochih == {**expected, "classifier.weight": (20, 32, 1, 1), "classifier.bias": (20,)}
