"""The convolutions as torch custom ops: their twins on the CPU, what they refuse, weights as they are packed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fcnrt_kernels import conv, conv_first
from fcnrt_kernels.conv import alignment
from fcnrt_kernels.packing import pack_conv, pack_first, pack_normalization

X, WEIGHT, BIAS = torch.randn(2, 6, 7, 8), torch.randn(3, 3, 16, 8), torch.randn(16)
IMAGE, FIRST = torch.randint(0, 256, (1, 6, 7, 3), dtype=torch.uint8), torch.randn(3, 3, 3, 16)
SCALE, SHIFT = torch.rand(3), torch.randn(3)
WINDOW: dict[str, Any] = {"size": (6, 7), "origin": (-1, -1)}


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("conv", (X, WEIGHT, BIAS, [-1, -1], [6, 7], True, False)),
        ("conv", (X.half(), WEIGHT.half(), BIAS, [1, -2], [3, 5], False, True)),
        ("conv", (X[:0], WEIGHT, BIAS, [0, 0], [4, 5], True, True)),
        ("conv_first", (IMAGE, FIRST, BIAS, SCALE, SHIFT, 1, [-1, -1], [6, 7], True)),
        ("conv_first", (IMAGE.float(), FIRST.bfloat16(), BIAS, SCALE, SHIFT, 2, [0, 1], [2, 3], False)),
    ],
    ids=("conv", "pool", "empty", "uint8", "float"),
)
def test_opcheck(op: str, args: tuple[Any, ...]) -> None:
    torch.library.opcheck(getattr(torch.ops.fcnrt, op).default, args)


def test_a_layer_of_vgg() -> None:
    layer = torch.nn.Conv2d(8, 16, 3, padding=1)
    x = torch.randn(2, 8, 9, 11).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = F.max_pool2d(layer(x).relu(), 2, 2, ceil_mode=True).permute(0, 2, 3, 1)
    buffer = torch.full((2, 8, 9, 16), 7.0)
    out = buffer[:, 1:6, 2:8]
    weight, bias = pack_conv(layer.weight.detach(), torch.float32), layer.bias
    assert bias is not None
    assert conv(x.permute(0, 2, 3, 1), weight, bias.detach(), size=(9, 11), origin=(-1, -1), pool=True, out=out) is out
    torch.testing.assert_close(out, expected)
    out.fill_(7)
    assert bool((buffer == 7).all())


def test_a_window_beside_the_map_is_the_bias() -> None:
    out = conv(X, WEIGHT, BIAS, size=(2, 3), origin=(20, -30), relu=False)
    assert torch.equal(out, BIAS.expand(2, 2, 3, 16))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": X[0]}, r"x has shape \[6, 7, 8\]; expected \[N, height, width, channels\]"),
        ({"x": X.double()}, "x is torch.float64; expected float32, float16 or bfloat16"),
        ({"x": torch.randn(2, 8, 6, 7).permute(0, 2, 3, 1)}, "expected channels next to each other"),
        ({"weight": WEIGHT[..., :4]}, r"weight has shape \[3, 3, 16, 4\]; expected \[rows, columns, out, 8\]"),
        ({"weight": WEIGHT.half()}, "weight is torch.float16, strides .*; expected contiguous torch.float32"),
        ({"weight": WEIGHT.mT.contiguous().mT}, "expected contiguous torch.float32, as x is"),
        ({"bias": BIAS[:3]}, r"bias is torch.float32 \[3\], strides \(1,\); expected 16 contiguous floats"),
        (
            {"bias": BIAS.to("meta"), "out": torch.empty(2, 6, 7, 16)},
            "bias is on meta, the input on cpu; expected the same device",
        ),
        ({"size": (0, 7)}, r"origin is \[-1, -1\], size is \[0, 7\]; expected two numbers each, a size from 1 up"),
        ({"origin": (1, 2, 3)}, "expected two numbers each"),
        ({"out": torch.empty(2, 6, 7, 15)}, r"out is torch.float32 \[2, 6, 7, 15\] on cpu; expected"),
        ({"out": torch.empty(2, 6, 7, 16).half()}, r"expected torch.float32 \[2, 6, 7, 16\] on cpu"),
        ({"out": torch.empty(2, 16, 6, 7).permute(0, 2, 3, 1)}, "out has strides .* channels next to each other"),
    ],
)
def test_conv_refuses(change: dict[str, Any], message: str) -> None:
    arguments = {"x": X, "weight": WEIGHT, "bias": BIAS, **WINDOW, **change}
    with pytest.raises(ValueError, match=message):
        conv(arguments.pop("x"), arguments.pop("weight"), arguments.pop("bias"), **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": torch.zeros(1, 6, 7, 17)}, r"image has shape \[1, 6, 7, 17\]; .* at most 16 channels"),
        ({"image": IMAGE.int()}, "image is torch.int32; expected uint8, float32"),
        ({"weight": FIRST[:, :, :2]}, r"weight has shape \[3, 3, 2, 16\]; expected \[rows, columns, 3, out\]"),
        ({"weight": FIRST.double()}, "weight is torch.float64, strides .*; expected contiguous floats"),
        ({"scale": SCALE[:2]}, r"scale is torch.float32 \[2\], strides \(1,\); expected contiguous float32 \[3\]"),
        ({"shift": SHIFT.double()}, "shift is torch.float64"),
        ({"stride": 0}, "stride is 0; expected 1 or more"),
        ({"out": torch.empty(1, 6, 7, 16).half()}, "expected torch.float32"),
    ],
)
def test_conv_first_refuses(change: dict[str, Any], message: str) -> None:
    arguments = {"image": IMAGE, "weight": FIRST, "bias": BIAS, "scale": SCALE, "shift": SHIFT, **WINDOW, **change}
    with pytest.raises(ValueError, match=message):
        conv_first(arguments.pop("image"), arguments.pop("weight"), arguments.pop("bias"), **arguments)


def test_an_image_is_normalised_and_its_padding_is_not() -> None:
    order = (2, 1, 0)
    layer = torch.randn(16, 3, 3, 3)
    scale, shift = pack_normalization(1 / 255, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), order)
    bgr = IMAGE.permute(0, 3, 1, 2)[:, list(order)].double() / 255
    bgr = (bgr - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor([0.5, 0.6, 0.7])[:, None, None]
    expected = F.conv2d(bgr, layer.double(), BIAS.double(), padding=5).relu().permute(0, 2, 3, 1)
    weight = pack_first(layer, torch.float32, order)
    out = conv_first(IMAGE, weight, BIAS, scale=scale, shift=shift, size=expected.shape[1:3], origin=(-5, -5))
    torch.testing.assert_close(out, expected.float())
    planes = IMAGE.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    normal: dict[str, Any] = {"scale": scale, "shift": shift, "size": (4, 5)}
    torch.testing.assert_close(conv_first(planes, weight, BIAS, **normal), conv_first(IMAGE, weight, BIAS, **normal))


def test_packing_refuses() -> None:
    with pytest.raises(ValueError, match=r"weight has shape \[3\]; expected \[out, in, rows, columns\] or \[out, in\]"):
        pack_conv(torch.zeros(3), torch.float32)
    with pytest.raises(ValueError, match=r"order is \[2, 1, 1\]; expected the numbers 0 to 2, each once"):
        pack_first(torch.zeros(4, 3, 3, 3), torch.float32, (2, 1, 1))
    with pytest.raises(ValueError, match="expected as many of each, and no zero in std"):
        pack_normalization(1.0, (0, 0, 0), (1, 0, 1))
    assert pack_conv(torch.zeros(5, 4), torch.bfloat16).shape == (1, 1, 5, 4)


def test_alignment_is_that_of_addresses_and_strides() -> None:
    x = torch.empty(2, 5, 5, 8, dtype=torch.float16)
    assert alignment(x) == 16
    assert alignment(x[:, 1:, 2:]) == 16
    assert alignment(x[..., :4]) == 8  # a pixel that ends within 16 bytes
    assert alignment(x[..., 1:]) == 2
    assert alignment(torch.empty(2, 5, 5, 13, dtype=torch.float16)) == 2
    assert alignment(x[:1].expand(3, -1, -1, -1)) == 2  # no descriptor has a stride of 0
    assert alignment(torch.empty(1, 1, 1, 8, dtype=torch.float32)) == 16
