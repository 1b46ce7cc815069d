"""mmseg's FCN against a literal rendering of its forward pass, and the fused engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcnrt.engine.fused import FusedFCN
from fcnrt.models.batchnorm import fold_batchnorm
from fcnrt.models.mmseg_fcn import MMSegFCN

Weights = Mapping[str, Tensor]

# Of the configurations: (strides, dilations) of the stages, as configs/_base_/models/fcn_r50-d8.py and
# configs/fcn/fcn-d6_r50-d16_4xb2-40k_cityscapes-512x1024.py give them.
D8 = ((1, 2, 1, 1), (1, 1, 2, 4))
D16 = ((1, 2, 2, 1), (1, 1, 1, 2))
BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}

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


def norm(weights: Weights, name: str, x: Tensor) -> Tensor:
    mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    return F.batch_norm(x, mean, variance, weights[f"{name}.weight"], weights[f"{name}.bias"], eps=1e-5)


def conv(weights: Weights, name: str, x: Tensor, **options: Any) -> Tensor:
    assert f"{name}.bias" not in weights
    return F.conv2d(x, weights[f"{name}.weight"], **options)


def backbone(
    weights: Weights, depth: int, deep_stem: bool, strides: tuple[int, ...], dilations: tuple[int, ...], x: Tensor
) -> list[Tensor]:
    """``ResNet`` or ``ResNetV1c`` with ``contract_dilation``."""
    if deep_stem:
        x = norm(weights, "backbone.stem.1", conv(weights, "backbone.stem.0", x, stride=2, padding=1)).relu()
        x = norm(weights, "backbone.stem.4", conv(weights, "backbone.stem.3", x, padding=1)).relu()
        x = norm(weights, "backbone.stem.7", conv(weights, "backbone.stem.6", x, padding=1)).relu()
    else:
        x = norm(weights, "backbone.bn1", conv(weights, "backbone.conv1", x, stride=2, padding=3)).relu()
    x = F.max_pool2d(x, kernel_size=3, stride=2, padding=1)
    outs = []
    for stage, num_blocks in enumerate(BLOCKS[depth]):
        for index in range(num_blocks):
            name = f"backbone.layer{stage + 1}.{index}"
            stride = strides[stage] if index == 0 else 1
            dilation = dilations[stage]
            if index == 0 and dilation > 1:
                dilation //= 2
            options = {"stride": stride, "padding": dilation, "dilation": dilation}
            if depth == 18:
                out = norm(weights, f"{name}.bn1", conv(weights, f"{name}.conv1", x, **options)).relu()
                out = norm(weights, f"{name}.bn2", conv(weights, f"{name}.conv2", out, padding=1))
            else:
                out = norm(weights, f"{name}.bn1", conv(weights, f"{name}.conv1", x)).relu()
                out = norm(weights, f"{name}.bn2", conv(weights, f"{name}.conv2", out, **options)).relu()
                out = norm(weights, f"{name}.bn3", conv(weights, f"{name}.conv3", out))
            if f"{name}.downsample.0.weight" in weights:
                x = norm(weights, f"{name}.downsample.1", conv(weights, f"{name}.downsample.0", x, stride=stride))
            x = (out + x).relu()
        outs.append(x)
    return outs


def conv_module(weights: Weights, name: str, x: Tensor, dilation: int = 1) -> Tensor:
    return norm(weights, f"{name}.bn", conv(weights, f"{name}.conv", x, padding=dilation, dilation=dilation)).relu()


def predict(weights: Weights, options: dict[str, Any], images: Tensor) -> tuple[Tensor, Tensor]:
    """``EncoderDecoder``: the logits of ``decode_head`` and of ``auxiliary_head``, resized to the image."""
    strides, dilations = D16 if options.get("output_stride") == 16 else D8
    trunk = backbone(weights, options.get("depth", 50), options.get("deep_stem", True), strides, dilations, images)
    head_dilation = options.get("head_dilation", 1)
    x = trunk[3]
    feats = conv_module(weights, "decode_head.convs.0", x, head_dilation)
    feats = conv_module(weights, "decode_head.convs.1", feats, head_dilation)
    feats = conv_module(weights, "decode_head.conv_cat", torch.cat([x, feats], dim=1))
    aux = conv_module(weights, "auxiliary_head.convs.0", trunk[2], head_dilation)
    out, aux = (
        F.interpolate(
            F.conv2d(hidden, weights[f"{head}.conv_seg.weight"], weights[f"{head}.conv_seg.bias"]),
            images.shape[2:],
            mode="bilinear",
            align_corners=options.get("align_corners", False),
        )
        for head, hidden in (("decode_head", feats), ("auxiliary_head", aux))
    )
    return out, aux


@pytest.mark.parametrize("name", CONFIGURATIONS)
@pytest.mark.parametrize("size", [(33, 47), (65, 129)], ids=str)
def test_forward_pass(name: str, size: tuple[int, int]) -> None:
    options = CONFIGURATIONS[name]
    net = randomize(MMSegFCN(5, width=1 / 16, aux=True, **options))
    images = torch.randn(2, 3, *size)
    out, aux = predict(net.state_dict(), options, images)
    logits = net.training_logits(images)
    assert relative_error(net(images), out) <= 1e-5
    assert relative_error(logits["out"], out) <= 1e-5
    assert relative_error(logits["aux"], aux) <= 1e-5


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
