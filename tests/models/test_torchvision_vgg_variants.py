"""The FCNs on torchvision's VGG trunks: sizes, names and shapes. ``tests/publishers`` has their logits."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor

from fcnrt.errors import InputError
from fcnrt.models import FCN
from fcnrt.models.batchnorm import fold_batchnorm
from fcnrt.models.pochih_fcn import PochihFCNs
from fcnrt.models.tramac_fcn import TramacFCN8s, TramacFCN16s, TramacFCN32s

WIDTH = 1 / 16
Randomize: TypeAlias = Callable[[Any], Any]
Compare: TypeAlias = Callable[[Tensor, Tensor], float]
Fuse: TypeAlias = Callable[[FCN, Tensor], Any]


@pytest.mark.parametrize("build", [TramacFCN32s, TramacFCN16s, TramacFCN8s])
def test_tramac_fused_and_folded(
    build: Any, randomized: Randomize, relative_error: Compare, fused_logits: Fuse
) -> None:
    net = randomized(build(5, width=WIDTH))
    folded = copy.deepcopy(net)
    fold_batchnorm(folded)
    for size in ((32, 32), (61, 95)):
        x = torch.randn(2, 3, *size)
        expected = net(x)
        assert relative_error(fused_logits(net, x), expected) < 1e-5
        assert relative_error(folded(x), expected) < 1e-5


def test_tramac_needs_32_pixels() -> None:
    with pytest.raises(InputError, match=r"an image of 31x64 pixels is too small.*expected at least 32x32"):
        TramacFCN8s(width=WIDTH)(torch.zeros(1, 3, 31, 64))


@pytest.mark.parametrize("size", [(1, 1), (33, 50), (64, 31)])
def test_pochih_pads_other_sizes(
    size: tuple[int, int], randomized: Randomize, relative_error: Compare, fused_logits: Fuse
) -> None:
    net = randomized(PochihFCNs(5, width=WIDTH))
    canvas = torch.zeros(2, 3, 64, 64)
    x = canvas[:, :, : size[0], : size[1]] = torch.randn(2, 3, *size)
    canvas = canvas[:, :, : -(-size[0] // 32) * 32, : -(-size[1] // 32) * 32]
    expected = net(canvas)[:, :, : size[0], : size[1]]
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
