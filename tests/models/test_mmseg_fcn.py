"""mmseg's FCN in the fused engine, and its layout. ``tests/publishers`` has its forward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fcnrt.engine.fused import FusedFCN
from fcnrt.models.batchnorm import fold_batchnorm
from fcnrt.models.mmseg_fcn import MMSegFCN

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "r50-d8": {},
    "r50-d8, 769x769": {"align_corners": True},
    "r18-d8": {"depth": 18},
    "r18b-d8": {"depth": 18, "deep_stem": False},
    "d6_r50-d16": {"output_stride": 16, "head_dilation": 6},
    "d6_r50b-d16, 769x769": {
        "output_stride": 16,
        "head_dilation": 6,
        "deep_stem": False,
        "align_corners": True,
    },
}


def randomize(net: MMSegFCN) -> MMSegFCN:
    """Normalizations that do something, and score layers that are not small."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, 0, 0.1)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.weight, 0, module.in_channels**-0.5)
            nn.init.normal_(module.bias)
    return net.eval().requires_grad_(False)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    assert actual.shape == expected.shape
    return float((actual - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("size", [(1, 1), (33, 47), (65, 129)], ids=str)
def test_the_fused_engine_gives_the_logits_of_the_reference(name: str, size: tuple[int, int]) -> None:
    net = randomize(MMSegFCN(5, width=1 / 16, **CONFIGURATIONS[name]))
    images = torch.randn(2, 3, *size)
    expected = net(images)
    fold_batchnorm(net)
    fused = FusedFCN(net, torch.float32)
    assert relative_error(fused(images), expected) <= 1e-5
    assert relative_error(fused(images[:1]), expected[:1]) <= 1e-5


def test_layout() -> None:
    """Counted on mmseg 1.2.2's own modules."""
    with torch.device("meta"):
        net = MMSegFCN(aux=True)
    state = net.state_dict()
    shapes = {
        "backbone.stem.0.weight": (32, 3, 3, 3),
        "backbone.stem.3.weight": (32, 32, 3, 3),
        "backbone.stem.6.weight": (64, 32, 3, 3),
        "decode_head.convs.0.conv.weight": (512, 2048, 3, 3),
        "decode_head.convs.1.bn.running_var": (512,),
        "decode_head.conv_cat.conv.weight": (512, 2560, 3, 3),
        "decode_head.conv_seg.bias": (19,),
        "auxiliary_head.convs.0.conv.weight": (256, 1024, 3, 3),
        "auxiliary_head.conv_seg.weight": (19, 256, 1, 1),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    assert len(state) == 358
    assert sum(parameter.numel() for parameter in net.parameters()) == 49_497_734


def test_layout_of_a_shallow_net_with_torchvisions_stem() -> None:
    """Counted on mmseg 1.2.2's own modules."""
    with torch.device("meta"):
        net = MMSegFCN(depth=18, deep_stem=False, aux=True)
    state = net.state_dict()
    shapes = {
        "backbone.conv1.weight": (64, 3, 7, 7),
        "backbone.bn1.num_batches_tracked": (),
        "decode_head.conv_cat.conv.weight": (128, 640, 3, 3),
        "auxiliary_head.convs.0.conv.weight": (64, 256, 3, 3),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes
    assert len(state) == 148
    assert sum(parameter.numel() for parameter in net.parameters()) == 12_803_110
