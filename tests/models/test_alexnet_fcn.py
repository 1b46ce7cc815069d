"""FCN-AlexNet: the authors' geometry, on their trunk (see ``tests/publishers``) and on torchvision's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fcnrt.errors import InputError
from fcnrt.models.alexnet_fcn import AlexNetFCN, CaffeNetFCN, normalize_local_response
from tests.publishers.classifiers import alexnet_features

WIDTH = 1 / 24
NETS = (CaffeNetFCN, AlexNetFCN)


def torchvision_features(net: AlexNetFCN, *, padding: int, ceil_mode: bool) -> nn.Sequential:
    """``alexnet().features`` with the weights of ``net``."""
    convolutions = [layer for layer in net.children() if isinstance(layer, nn.Conv2d)][:5]
    layers = alexnet_features([int(conv.out_channels) for conv in convolutions], padding=padding, ceil_mode=ceil_mode)
    own = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    for layer, conv in zip(own, convolutions, strict=True):
        layer.load_state_dict(conv.state_dict())
    return nn.Sequential(*layers).requires_grad_(False)


def caffe_crop(*layers: tuple[str, int, int, int]) -> Fraction:
    """Caffe's ``coord_map.py``: where the image's first pixel lies in the last of ``layers`` (kind, k, s, pad)."""
    scale, shift = Fraction(1), Fraction(0)
    for kind, kernel, stride, pad in layers:
        if kind == "deconv":
            layer_scale, layer_shift = Fraction(stride), Fraction(kernel - 1, 2) - pad
        else:
            layer_scale, layer_shift = Fraction(1, stride), (pad - Fraction(kernel - 1, 2)) / stride
        scale, shift = scale * layer_scale, shift * layer_scale + layer_shift
    assert scale == 1
    return shift


def test_torchvision_trunk_with_the_authors_geometry(
    randomized: Callable[[Any], Any], relative_error: Callable[..., float]
) -> None:
    net = randomized(AlexNetFCN(5, width=WIDTH))
    p = net.state_dict()
    x = torch.randn(2, 3, 45, 70)
    y = torchvision_features(net, padding=100, ceil_mode=True)(x)
    y = F.relu(F.conv2d(F.relu(F.conv2d(y, p["fc6.weight"], p["fc6.bias"])), p["fc7.weight"], p["fc7.bias"]))
    y = F.conv_transpose2d(F.conv2d(y, p["score_fr.weight"], p["score_fr.bias"]), p["upscore.weight"], stride=32)
    assert relative_error(net(x), y[:, :, 18:63, 18:88]) < 1e-5


def test_with_its_own_padding_it_is_the_classifier(
    randomized: Callable[[Any], Any], relative_error: Callable[..., float]
) -> None:
    net = randomized(AlexNetFCN(7, width=WIDTH, padding=2))
    p = net.state_dict()
    x = torch.randn(2, 3, 224, 224)
    y = torchvision_features(net, padding=2, ceil_mode=False)(x).flatten(1)
    for name in ("fc6", "fc7"):
        y = F.relu(F.linear(y, p[f"{name}.weight"].flatten(1), p[f"{name}.bias"]))
    logits = F.linear(y, p["score_fr.weight"].flatten(1), p["score_fr.bias"])
    assert relative_error(net(x), logits[:, :, None, None].expand(2, 7, 224, 224)) < 1e-5


@pytest.mark.parametrize("padding", [99, 100, 131])
@pytest.mark.parametrize("build", NETS)
def test_the_crop_is_caffes_coordinate_map(build: type[AlexNetFCN], padding: int) -> None:
    pool = ("pool", 3, 2, 0)
    same = [("conv", 5, 1, 2), ("conv", 3, 1, 1)]
    expected = caffe_crop(
        ("conv", 11, 4, padding), pool, same[0], pool, *[same[1]] * 3, pool, ("conv", 6, 1, 0), ("deconv", 63, 32, 0)
    )
    assert build(2, width=WIDTH, padding=padding).heads["out"].crop == expected == padding - 82


def test_the_map_gives_the_authors_other_crops() -> None:
    trunk = [("conv", 3, 1, 100), *[("pool", 2, 2, 0)] * 5, ("conv", 7, 1, 0)]
    assert caffe_crop(*trunk, ("deconv", 64, 32, 0)) == 19


def pooled(entries: int) -> int:
    """Caffe's pooling_layer.cpp, for 3x3 with stride 2."""
    return math.ceil((entries - 3) / 2) + 1


@pytest.mark.parametrize("padding", [99, 100])
def test_every_size_is_valid(padding: int) -> None:
    for side in range(1, 4097):
        fc6 = pooled(pooled(pooled((side + 2 * padding - 11) // 4 + 1))) - 5
        assert fc6 >= 1
        assert 32 * (fc6 - 1) + 63 >= padding - 82 + side
    net = CaffeNetFCN(2, width=WIDTH, padding=padding).eval()
    for side in (1, 30, 31):
        assert net(torch.zeros(1, 3, side, side)).shape == (1, 2, side, side)


@pytest.mark.parametrize("build", NETS)
def test_too_small_an_image_for_the_padding(build: type[AlexNetFCN]) -> None:
    net = build(2, width=WIDTH, padding=2).eval()
    assert net(torch.zeros(1, 3, 195, 195)).shape == (1, 2, 195, 195)
    with pytest.raises(InputError, match=r"an image of 300x194 pixels is too small.*expected at least 195x195"):
        net(torch.zeros(1, 3, 300, 194))


@pytest.mark.parametrize("build", NETS)
@pytest.mark.parametrize("size", [(1, 1), (33, 90)])
def test_fused(
    build: type[AlexNetFCN],
    size: tuple[int, int],
    randomized: Callable[[Any], Any],
    fused_logits: Callable[..., Any],
    relative_error: Callable[..., float],
) -> None:
    net = randomized(build(5, width=WIDTH))
    x = torch.randn(2, 3, *size)
    assert relative_error(fused_logits(net, x), net(x)) < 1e-5


def test_names_and_shapes() -> None:
    with torch.device("meta"):
        caffenet = {name: tuple(tensor.shape) for name, tensor in CaffeNetFCN(21).state_dict().items()}
        torchvision = {name: tuple(tensor.shape) for name, tensor in AlexNetFCN(21).state_dict().items()}
    common = {
        "fc6": (4096, 256, 6, 6),
        "fc7": (4096, 4096, 1, 1),
        "score_fr": (21, 4096, 1, 1),
    }
    weights = {
        "conv1": (96, 3, 11, 11),
        "conv2": (256, 48, 5, 5),
        "conv3": (384, 256, 3, 3),
        "conv4": (384, 192, 3, 3),
        "conv5": (256, 192, 3, 3),
        **common,
    }
    assert caffenet == with_biases(weights)
    weights = {
        "conv1": (64, 3, 11, 11),
        "conv2": (192, 64, 5, 5),
        "conv3": (384, 192, 3, 3),
        "conv4": (256, 384, 3, 3),
        "conv5": (256, 256, 3, 3),
        **common,
    }
    assert torchvision == with_biases(weights)


def with_biases(weights: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"upscore.weight": (21, 21, 63, 63)}
    for name, shape in weights.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def test_local_response_of_large_half_precision_activations() -> None:
    x = torch.full((1, 8, 1, 1), 1000.0, dtype=torch.float16)
    expected = F.local_response_norm(x.double(), 5, 1e-4, 0.75, 1.0)
    torch.testing.assert_close(normalize_local_response(x).double(), expected, rtol=1e-3, atol=0)
    assert normalize_local_response(x.double()).dtype == torch.float64
