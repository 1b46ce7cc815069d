from __future__ import annotations

import json

import pytest
import torch

from fcnrt.errors import InputError
from fcnrt.preprocessing import PRESETS, Beside, Normalization, get_normalization, normalize

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
    beside = PRESETS[preset].beside
    more = None if beside is None else images if beside.kind == "hha" else images[:, :1].float() + 1
    result = normalize(images, preset, more)
    assert torch.equal(images, before)
    assert result.is_contiguous() and result.dtype == torch.float32
    assert result.shape == (2, PRESETS[preset].channels, *images.shape[2:])


def test_hha_and_depth_are_behind_colour_as_the_solvers_load_them() -> None:
    """``load_image``, ``load_hha`` and ``load_depth`` of ``nyud_layers.py``."""
    color = IMAGES[:, [2, 1, 0]].float() - torch.tensor([116.190, 97.203, 92.318]).view(3, 1, 1)
    hha = IMAGES.flip(0, 3)
    expected = torch.cat((color, hha.float() - torch.tensor([132.431, 94.076, 118.477]).view(3, 1, 1)), dim=1)
    torch.testing.assert_close(normalize(IMAGES, "nyud-color-hha", hha), expected, rtol=0, atol=0)
    depth = IMAGES[:, :1].float() * 31 + 700
    expected = torch.cat((color, depth.log() - 7.844), dim=1)
    torch.testing.assert_close(normalize(IMAGES, "nyud-color-d", depth), expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("preset", "beside", "message"),
    [
        ("nyud", IMAGES, "'nyud' takes colour alone; found more"),
        ("nyud-color-hha", None, "'nyud-color-hha' takes HHA beside colour; found none"),
        ("nyud-color-d", None, "'nyud-color-d' takes depth beside colour; found none"),
        ("nyud-color-hha", IMAGES[:, :1], r"HHA is torch.uint8 of shape .* expected torch.uint8 \(2, 3, 5, 7\)"),
        ("nyud-color-d", IMAGES[:, :1], r"depth is torch.uint8 of shape .* expected torch.float32 \(2, 1, 5, 7\)"),
        ("nyud-color-d", IMAGES[:1, :1].float(), r"depth is .* expected torch.float32 \(2, 1, 5, 7\)"),
    ],
)
def test_what_is_beside_colour_is_what_the_net_takes(preset: str, beside: torch.Tensor | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        normalize(IMAGES, preset, beside)


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
        ({"beside": 1}, "beside is 1; expected the keys kind and mean"),
        ({"beside": {"kind": "hha"}}, "expected the keys kind and mean"),
        ({"beside": {"kind": ["hha"], "mean": [1]}}, "expected the keys kind and mean"),
        ({"beside": {"kind": "nir", "mean": [1]}}, "beside kind is 'nir'; expected 'hha' or 'depth'"),
        ({"beside": {"kind": "hha", "mean": [1]}}, r"beside mean is \[1\]; expected 3 finite"),
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
    assert custom.channels == 3
    with pytest.raises(InputError, match="beside is 'hha'; expected a Beside, or None"):
        Normalization("custom", "rgb", 1.0, (1, 2, 3), (1, 1, 1), "hha")  # type: ignore[arg-type]  # wrong on purpose
    assert Normalization("custom", "rgb", 1.0, (1, 2, 3), (1, 1, 1), Beside("depth", (0,))).channels == 4
    assert get_normalization("imagenet") is PRESETS["imagenet"]
    with pytest.raises(InputError, match="unknown normalization 'vgg'; expected one of caffe-voc, imagenet, "):
        get_normalization("vgg")
