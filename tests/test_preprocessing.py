from __future__ import annotations

import json

import pytest
import torch

from fcnrt.errors import InputError
from fcnrt.preprocessing import PRESETS, Normalization, get_normalization, normalize

IMAGES = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_caffe_voc_is_bgr_minus_the_published_mean() -> None:
    mean = torch.tensor([104.00698793, 116.66876762, 122.67891434]).view(3, 1, 1)
    expected = IMAGES[:, [2, 1, 0]].float() - mean
    torch.testing.assert_close(normalize(IMAGES, "caffe-voc"), expected, rtol=0, atol=0)


def test_imagenet_is_torchvisions() -> None:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (IMAGES.float() / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(normalize(IMAGES, "imagenet"), expected)


@pytest.mark.parametrize("preset", PRESETS)
def test_normalize_leaves_its_input_alone_and_returns_contiguous(preset: str) -> None:
    images = IMAGES.permute(0, 1, 3, 2)
    before = images.clone()
    result = normalize(images, preset)
    assert torch.equal(images, before)
    assert result.is_contiguous() and result.dtype == torch.float32 and result.shape == images.shape


@pytest.mark.parametrize("images", [IMAGES.float(), IMAGES[0], IMAGES[:, :2]], ids=["float", "CHW", "two"])
def test_normalize_refuses_other_tensors(images: torch.Tensor) -> None:
    with pytest.raises(InputError, match=r"expected torch.uint8 \[N, 3, H, W\], RGB"):
        normalize(images, "caffe-voc")


@pytest.mark.parametrize("preset", PRESETS.values(), ids=str)
def test_json_round_trip_is_exact(preset: Normalization) -> None:
    assert Normalization.from_json(preset.to_json()) == preset


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": "gbr"}, "expected 'rgb' or 'bgr'"),
        ({"scale": 0}, "must be positive"),
        ({"scale": "1"}, "scale .* expected 1 finite number"),
        ({"std": [1, 1, 0]}, "must be positive"),
        ({"mean": [1, 2]}, "mean .* expected 3 finite number"),
        ({"mean": [1, 2, float("nan")]}, "expected 3 finite number"),
        ({"mean": "123"}, "expected 3 finite number"),
        ({"mean": 5}, "expected 3 number"),
        ({"extra": 1}, "exactly the keys name, order, scale, mean, std"),
    ],
)
def test_broken_json_says_which_field(change: dict[str, object], message: str) -> None:
    data = json.loads(PRESETS["imagenet"].to_json()) | change
    with pytest.raises(InputError, match=message):
        Normalization.from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000], ids=["empty", "list", "cut", "deep"])
def test_text_that_is_no_normalization(text: str) -> None:
    with pytest.raises(InputError, match="normalization"):
        Normalization.from_json(text)


def test_get_normalization() -> None:
    custom = Normalization("custom", "rgb", 1.0, (1, 2, 3), (1, 1, 1))
    assert get_normalization(custom) is custom
    assert get_normalization("imagenet") is PRESETS["imagenet"]
    with pytest.raises(InputError, match="unknown normalization 'vgg'; expected one of caffe-voc, imagenet, "):
        get_normalization("vgg")
