"""shelhamer/fcn.berkeleyvision.org and NVIDIA/DIGITS: ``.caffemodel``s, and conversions that keep the names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.checkpoints.caffe_files import blob, caffemodel
from tests.publishers.caffe import (
    Layers,
    bilinear,
    convolution,
    convolve,
    decode,
    decoder_layers,
    deconvolve,
    state_dict,
    trunk,
    trunk_layers,
    upsampling,
)
from tests.publishers.conftest import Proof
from tests.publishers.vgg import CLASSES, HIDDEN, crop

SIZES = ((1, 1), (33, 47))
WITHOUT_BLOBS = ("data", "relu1_1", "pool1", "drop6", "score")
"""Layers that a file also has, empty."""

Save = Callable[[Proof, Layers], Path]


@pytest.fixture(params=["layer", "layers"])
def generation(request: pytest.FixtureRequest) -> dict[str, Any]:
    """How a file says it: Caffe of the papers' nets, or older, with blobs of four extents."""
    return {"v1": request.param == "layers", "style": "legacy" if request.param == "layers" else "new"}


def write(path: Path, layers: Layers, *, v1: bool = False, style: str = "new") -> Path:
    blobs = {name: [blob(tensor.numpy(), style=style) for tensor in tensors] for name, tensors in layers.items()}
    path.write_bytes(caffemodel({**{name: [] for name in WITHOUT_BLOBS}, **blobs}, v1=v1))
    return path


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """A ``.caffemodel``, or what a conversion to torch makes of it."""

    def save(proof: Proof, layers: Layers) -> Path:
        if proof.layout == "Caffe":
            return write(tmp_path / "train_iter_100000.caffemodel", layers)
        path = tmp_path / "converted.pth"
        torch.save(state_dict(layers), path)
        return path

    return save


@pytest.mark.proves("Caffe", "fcn32s")
@pytest.mark.proves("Caffe", "fcn16s")
@pytest.mark.proves("Caffe", "fcn8s")
def test_staged(proof: Proof, generation: dict[str, Any], tmp_path: Path) -> None:
    layers = trunk_layers() | decoder_layers(proof.arch)
    layers |= {name: bilinear(CLASSES, up[0].shape[2] // 2) for name, up in layers.items() if name.startswith("up")}
    path = write(tmp_path / f"{proof.arch}-heavy-pascal.caffemodel", layers, **generation)
    model = proof.compare(path, lambda x: decode(proof.arch, layers, trunk(layers, x), x), sizes=SIZES)
    assert model.spec.sources["arch"] == "tensor shapes"


@pytest.mark.proves("Caffe", "fcn8s-atonce", "score_fr/0", "conv1_1/0")
@pytest.mark.proves("Caffe names", "fcn8s-atonce")
@pytest.mark.parametrize("factor", [1.0, 3.0], ids=["the authors' scales", "other scales"])
def test_at_once(proof: Proof, factor: float, save: Save) -> None:
    """Its Scale layers tell it; where score layers are renamed by class count, as DIGITS does, the trunk does too."""
    layers = trunk_layers() | decoder_layers("fcn8s-atonce")
    for pool, scale in (("pool4", 0.01), ("pool3", 0.0001)):
        channels = layers[f"score_{pool}"][0].shape[1]
        layers[f"scale_{pool}"] = (torch.full((channels,), scale) * factor,)
    saved = layers
    if proof.variant == "conv1_1/0":
        saved = {name.replace("score_fr", "score_fr_5classes"): blobs for name, blobs in layers.items()}
    path = save(proof, saved)
    proof.compare(path, lambda x: decode("fcn8s-atonce", layers, trunk(layers, x), x), sizes=SIZES)


@pytest.mark.proves("Caffe", "siftflow-fcn32s")
@pytest.mark.proves("Caffe", "siftflow-fcn16s")
@pytest.mark.proves("Caffe", "siftflow-fcn8s")
@pytest.mark.proves("Caffe names", "siftflow-fcn32s")
@pytest.mark.proves("Caffe names", "siftflow-fcn16s")
@pytest.mark.proves("Caffe names", "siftflow-fcn8s")
def test_sift_flow(proof: Proof, save: Save) -> None:
    """Two heads on one trunk."""
    arch = proof.arch.removeprefix("siftflow-")
    layers = trunk_layers() | decoder_layers(arch, "_sem", 7) | decoder_layers(arch, "_geo", 3)

    def published(x: Tensor) -> dict[str, Tensor]:
        maps = trunk(layers, x)
        return {head: decode(arch, layers, maps, x, f"_{head}") for head in ("sem", "geo")}

    proof.compare(save(proof, layers), published, sizes=SIZES)


@pytest.mark.proves("Caffe", "nyud-fcn32s-color-d")
@pytest.mark.proves("Caffe names", "nyud-fcn32s-color-d")
def test_nyud_early_fusion(proof: Proof, save: Save) -> None:
    """Depth is the fourth channel of ``conv1_1_bgrd``."""
    layers = trunk_layers(first="conv1_1_bgrd", channels=4) | decoder_layers("fcn32s", classes=7)

    def published(x: Tensor) -> Tensor:
        return decode("fcn32s", layers, trunk(layers, x, first="conv1_1_bgrd"), x)

    proof.compare(save(proof, layers), published, sizes=SIZES)


@pytest.mark.proves("Caffe", "nyud-fcn32s-color-hha")
@pytest.mark.proves("Caffe names", "nyud-fcn32s-color-hha")
def test_nyud_late_fusion(proof: Proof, save: Save) -> None:
    """Two trunks, whose scores are halved and added."""
    layers: dict[str, tuple[Tensor, ...]] = {"upscore": upsampling(7, 32)}
    for suffix in ("color", "hha"):
        layers |= trunk_layers(suffix) | {f"score_fr{suffix}": convolution(HIDDEN, 7, 1)}

    def published(x: Tensor) -> Tensor:
        scores = [
            convolve(layers, f"score_fr{suffix}", trunk(layers, part, suffix)["fc7"])
            for suffix, part in (("color", x[:, :3]), ("hha", x[:, 3:]))
        ]
        return crop(deconvolve(layers, "upscore", 0.5 * scores[0] + 0.5 * scores[1], 32), 19, x)

    proof.compare(save(proof, layers), published, sizes=SIZES)


def alexnet_layers() -> dict[str, tuple[Tensor, ...]]:
    """A sixteenth as wide; ``conv2``, ``conv4`` and ``conv5`` have two groups."""
    shapes = {
        "conv1": (3, 6, 11),
        "conv2": (3, 16, 5),
        "conv3": (16, 24, 3),
        "conv4": (12, 24, 3),
        "conv5": (12, 16, 3),
    }
    shapes |= {"fc6": (16, 256, 6), "fc7": (256, 256, 1), "score_fr": (256, CLASSES, 1)}
    return {name: convolution(*shape) for name, shape in shapes.items()}


def normalized(x: Tensor) -> Tensor:
    """Caffe's LRN across channels: local_size 5, alpha 1e-4 over the five, beta 0.75, k 1."""
    squares = F.pad(x * x, (0, 0, 0, 0, 2, 2))
    total = sum(squares[:, shift : shift + x.shape[1]] for shift in range(5))
    return x / (1 + 1e-4 / 5 * total) ** 0.75


def alexnet(layers: Layers, x: Tensor, groups: int) -> Tensor:
    """CaffeNet normalizes behind its pools, which round up."""

    def pool(x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 2, ceil_mode=True)

    y = normalized(pool(F.relu(convolve(layers, "conv1", x, 100, stride=4))))
    y = normalized(pool(F.relu(convolve(layers, "conv2", y, 2, groups=2))))
    y = F.relu(convolve(layers, "conv3", y, 1))
    y = F.relu(convolve(layers, "conv4", y, 1, groups=2))
    y = pool(F.relu(convolve(layers, "conv5", y, 1, groups=2)))
    y = F.relu(convolve(layers, "fc7", F.relu(convolve(layers, "fc6", y))))
    return crop(deconvolve(layers, "upscore", convolve(layers, "score_fr", y), 32, groups=groups), 18, x)


@pytest.mark.proves("Caffe", "fcn-alexnet", "caffe-voc")
@pytest.mark.proves("Caffe names", "fcn-alexnet", "caffe-voc")
def test_alexnet(proof: Proof, save: Save) -> None:
    """On inputs as large as Caffe's, so that its normalization does something."""
    layers = alexnet_layers() | {"upscore": upsampling(CLASSES, 32, 63)}
    layers["conv1"] = layers["conv1"][0] * 100, layers["conv1"][1]
    proof.compare(save(proof, layers), lambda x: alexnet(layers, x, 1), sizes=SIZES)


@pytest.mark.proves("Caffe", "fcn-alexnet", "digits")
@pytest.mark.proves("Caffe names", "fcn-alexnet", "digits")
@pytest.mark.parametrize("renamed", [False, True])
def test_digits_alexnet(proof: Proof, renamed: bool, save: Save) -> None:
    """A group for each class, and score layers renamed by their count."""
    layers = alexnet_layers()
    layers["upscore"] = (upsampling(CLASSES, 32, 63)[0][:, :1],)
    saved: Layers = layers
    if renamed:
        suffix = f"_{CLASSES}classes"
        saved = {name + suffix if "score" in name else name: blobs for name, blobs in layers.items()}
    model = proof.compare(save(proof, saved), lambda x: alexnet(layers, x, CLASSES), sizes=SIZES)
    assert model.spec.normalization.name == "digits"
