"""FCN-GoogLeNet against a rendering of torchvision's ``googlenet.py``, and its own geometry."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fcnrt.errors import InputError
from fcnrt.models.batchnorm import fold_batchnorm
from fcnrt.models.googlenet_fcn import GoogLeNetFCN
from tests.publishers.classifiers import GoogLeNetTrunk

WIDTH = 1 / 16


@pytest.mark.parametrize(
    ("padding", "crop", "size"), [(100, 106, (1, 1)), (100, 106, (37, 50)), (3, 9, (65, 33)), (3, 9, (15, 15))]
)
def test_it_is_torchvisions_trunk(
    padding: int,
    crop: int,
    size: tuple[int, int],
    randomized: Callable[[Any], Any],
    relative_error: Callable[..., float],
) -> None:
    net = randomized(GoogLeNetFCN(5, width=WIDTH, padding=padding))
    p = net.state_dict()
    x = torch.randn(2, 3, *size)
    trunk = GoogLeNetTrunk(padding).eval().requires_grad_(False)
    trunk.load_state_dict({name: p[name] for name in trunk.state_dict()})
    y = F.conv2d(trunk(x), p["score_fr.weight"], p["score_fr.bias"])
    y = F.conv_transpose2d(y, p["upscore.weight"], stride=32)
    y = y[:, :, crop : crop + size[0], crop : crop + size[1]]
    assert relative_error(net(x), y) < 1e-5


@pytest.mark.parametrize("padding", [0, 3, 100])
def test_the_crop_is_caffes_coordinate_map(padding: int) -> None:
    position = Fraction(0)
    for kernel, stride, pad in ((7, 2, padding), (3, 2, 0), (3, 2, 0), (3, 2, 0), (2, 2, 0)):
        position = (position + pad - Fraction(kernel - 1, 2)) / stride
    assert GoogLeNetFCN(2, width=WIDTH, padding=padding).heads["out"].crop == 32 * position + 31


def pooled(entries: int, kernel: int) -> int:
    """torch's pooling with stride 2 and ceil_mode: no window begins beyond the map."""
    windows = math.ceil((entries - kernel) / 2) + 1
    return windows - 1 if (windows - 1) * 2 >= entries else windows


@pytest.mark.parametrize(("padding", "least"), [(100, 1), (26, 1), (10, 1), (3, 15)])
def test_every_size_from_the_least_up_is_valid(padding: int, least: int) -> None:
    for side in range(least, 4097):
        entries = (side + 2 * padding - 7) // 2 + 1
        for kernel in (3, 3, 3, 2):
            entries = pooled(entries, kernel)
        assert entries >= 1
        assert 32 * (entries - 1) + 63 >= padding + 6 + side
        if padding >= 26:  # the last pixel has scores on both sides
            assert 32 * (entries - 1) + 31 >= padding + 6 + side - 1


def test_too_small_an_image_for_the_padding() -> None:
    net = GoogLeNetFCN(2, width=WIDTH, padding=3).eval()
    with pytest.raises(InputError, match=r"an image of 14x500 pixels is too small.*expected at least 15x15"):
        net(torch.zeros(1, 3, 14, 500))


def test_fused_and_folded(
    randomized: Callable[[Any], Any], fused_logits: Callable[..., Any], relative_error: Callable[..., float]
) -> None:
    net = randomized(GoogLeNetFCN(5, width=WIDTH))
    x = torch.randn(2, 3, 33, 90)
    expected = net(x)
    assert relative_error(fused_logits(net, x), expected) < 1e-5
    folded = copy.deepcopy(net)
    fold_batchnorm(folded)
    assert not [name for name in folded.state_dict() if ".bn." in name]
    assert relative_error(folded(x), expected) < 1e-5


def test_names_and_shapes() -> None:
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in GoogLeNetFCN(21).state_dict().items()}
    # The classifier has 6,624,904 parameters, of which fc has 1000 * 1024 + 1000.
    trunk = {name: shape for name, shape in shapes.items() if not name.startswith(("score_fr.", "upscore."))}
    parameters = sum(torch.Size(shape).numel() for name, shape in trunk.items() if name.endswith((".weight", ".bias")))
    assert parameters == 6_624_904 - 1_025_000
    assert len(trunk) == 57 * 6  # convolutions with a weight each, and the five entries of a batch norm
    assert shapes["conv1.conv.weight"] == (64, 3, 7, 7)
    assert shapes["inception3a.branch3.1.conv.weight"] == (32, 16, 3, 3)
    assert shapes["inception4d.branch4.1.bn.running_var"] == (64,)
    assert shapes["inception5b.branch2.1.conv.weight"] == (384, 192, 3, 3)
    assert shapes["score_fr.weight"] == (21, 1024, 1, 1)
    assert shapes["upscore.weight"] == (21, 21, 63, 63)
