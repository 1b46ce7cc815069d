"""Caffe's files: layers of both generations, blobs of every age, and networks that no other program has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fcnrt.checkpoints import Checkpoint, read_checkpoint, write_safetensors
from fcnrt.errors import CheckpointError

StateDict = dict[str, Tensor]
Weights = Callable[..., StateDict]


def read(content: bytes, path: Path, **arguments: Any) -> Checkpoint:
    path.write_bytes(content)
    return read_checkpoint(path, **arguments)


def assert_same(found: StateDict, expected: StateDict) -> None:
    assert set(found) == set(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("v1", [False, True], ids=["layer", "layers"])
@pytest.mark.parametrize("style", ["new", "legacy", "single"])
@pytest.mark.parametrize("arch", ["fcn32s", "fcn8s"])
def test_generations_of_caffe(weights: Weights, caffe: Any, tmp_path: Path, arch: str, style: str, v1: bool) -> None:
    state = weights(arch)
    path = tmp_path / f"{arch}-heavy-pascal.caffemodel"
    checkpoint = read(caffe.model(caffe.by_layer(state, style=style), v1=v1), path)
    assert_same(checkpoint.state_dict, state)
    assert (checkpoint.container, checkpoint.layout) == ("caffemodel", "Caffe")
    assert (checkpoint.spec.arch, checkpoint.spec.normalization.name) == (arch, "caffe-voc")
    assert checkpoint.spec.sources["arch"] == "tensor shapes"  # at-once would have its Scale layers
    assert checkpoint.notes == ()


def test_double_blobs(weights: Weights, caffe: Any, tmp_path: Path) -> None:
    state = weights("fcn32s")
    layers = caffe.by_layer({key: value.double() for key, value in state.items()})
    checkpoint = read(caffe.model(layers), tmp_path / "a.caffemodel")
    assert_same(checkpoint.state_dict, state)
    assert checkpoint.stored_dtypes == ("float64",)


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_at_once_is_told_by_its_scales(weights: Weights, caffe: Any, tmp_path: Path, factor: float) -> None:
    """Factors other than the authors' go into the weights behind them."""
    state = weights("fcn8s-atonce")
    scales = {
        "scale_pool4.weight": torch.full((8,), 0.01) * factor,
        "scale_pool3.weight": torch.full((4,), 0.0001) * factor,
    }
    checkpoint = read(caffe.model(caffe.by_layer(state | scales)), tmp_path / "a.caffemodel")
    assert (checkpoint.spec.arch, checkpoint.spec.sources["arch"]) == ("fcn8s-atonce", "tensor shapes")
    for pool in ("score_pool4.weight", "score_pool3.weight"):
        assert torch.equal(checkpoint.state_dict.pop(pool), state.pop(pool) * factor)
    assert_same(checkpoint.state_dict, state)
    torch.save(weights("fcn8s-atonce") | scales, tmp_path / "a.pth")  # a conversion that kept them
    assert read_checkpoint(tmp_path / "a.pth").layout == "Caffe names"


@pytest.mark.parametrize("blobs", [True, False], ids=["caffemodel", "pth"])
@pytest.mark.parametrize("stride", [32, 16, 8])
def test_sift_flow(weights: Weights, caffe: Any, tmp_path: Path, stride: int, blobs: bool) -> None:
    state = weights(f"siftflow-fcn{stride}s", num_classes=33)
    assert {"score_fr_sem.weight", "score_fr_geo.bias", "conv1_1.weight"} < state.keys()
    path = tmp_path / "model"
    if blobs:
        path.write_bytes(caffe.model(caffe.by_layer(state)))
    else:
        torch.save(state, path)
    checkpoint = read_checkpoint(path)
    assert_same(checkpoint.state_dict, state)
    spec = checkpoint.spec
    assert (spec.arch, spec.num_classes, spec.normalization.name) == (f"siftflow-fcn{stride}s", 33, "siftflow")
    assert spec.options == {"width": 1 / 64, "geometric_classes": 3}
    assert list(spec.heads) == ["sem", "geo"]
    assert spec.heads["sem"] == spec.classes and spec.classes[27] == "sky"
    assert spec.heads["geo"] == ("sky", "horizontal", "vertical")
    write_safetensors(tmp_path / "own.safetensors", spec, checkpoint.state_dict)
    assert read_checkpoint(tmp_path / "own.safetensors").spec == spec


@pytest.mark.parametrize(
    ("arch", "keys"),
    [
        ("nyud-fcn32s-color-d", {"conv1_1_bgrd.weight", "conv1_2.weight"}),
        ("nyud-fcn32s-color-hha", {"conv1_1color.weight", "fc6hha.bias", "score_frcolor.weight", "upscore.weight"}),
    ],
)
def test_nyud_fusion(weights: Weights, caffe: Any, tmp_path: Path, arch: str, keys: set[str]) -> None:
    state = weights(arch, num_classes=40)
    assert keys < state.keys()
    checkpoint = read(caffe.model(caffe.by_layer(state)), tmp_path / "a.caffemodel")
    assert_same(checkpoint.state_dict, state)
    assert (checkpoint.spec.arch, checkpoint.spec.classes[0]) == (arch, "wall")
    assert checkpoint.spec.normalization.name == arch.replace("fcn32s-", "")


@pytest.mark.parametrize(
    ("name", "num_classes", "normalization", "first"),
    [
        ("nyud-fcn32s-color-heavy.caffemodel", 40, "nyud", "wall"),
        ("nyud-fcn32s-hha-heavy.caffemodel", 40, "nyud-hha", "wall"),
        ("pascalcontext-fcn32s-heavy.caffemodel", 60, "caffe-voc", "background"),
    ],
)
def test_other_data_by_file_name(
    weights: Weights, caffe: Any, tmp_path: Path, name: str, num_classes: int, normalization: str, first: str
) -> None:
    state = weights("fcn32s", num_classes=num_classes, width=1 / 512)
    spec = read(caffe.model(caffe.by_layer(state)), tmp_path / name).spec
    assert (spec.arch, spec.normalization.name, spec.classes[0]) == ("fcn32s", normalization, first)


@pytest.mark.parametrize("blobs", [True, False], ids=["caffemodel", "pth"])
def test_alexnet(weights: Weights, caffe: Any, tmp_path: Path, blobs: bool) -> None:
    state = weights("fcn-alexnet")
    assert {"conv1.weight", "conv5.bias", "fc6.weight", "score_fr.weight", "upscore.weight"} < state.keys()
    path = tmp_path / "model"
    if blobs:
        path.write_bytes(caffe.model(caffe.by_layer(state)))
    else:
        torch.save(state, path)
    checkpoint = read_checkpoint(path)
    assert_same(checkpoint.state_dict, state)
    assert (checkpoint.spec.arch, checkpoint.spec.normalization.name) == ("fcn-alexnet", "caffe-voc")


def test_digits_has_a_group_for_each_class(weights: Weights, caffe: Any, tmp_path: Path) -> None:
    state = weights("fcn-alexnet")
    grouped = torch.randn(3, 1, 63, 63)
    dense = torch.zeros(3, 3, 63, 63)
    for index in range(3):
        dense[index, index] = grouped[index, 0]
    layers = caffe.by_layer({**state, "upscore.weight": grouped})
    layers = {f"{name}_3classes" if name in ("upscore", "score_fr") else name: blobs for name, blobs in layers.items()}
    checkpoint = read(caffe.model(layers), tmp_path / "snapshot_iter_90.caffemodel")
    assert_same(checkpoint.state_dict, state | {"upscore.weight": dense})
    assert checkpoint.spec.normalization.name == "digits"


def test_classifiers(caffe: Any, tmp_path: Path) -> None:
    layers = {name: [caffe.blob(np.zeros((4, 4), np.float32))] for name in ("fc6", "fc7", "fc8")}
    with pytest.raises(CheckpointError, match="an ImageNet classifier of Caffe, not an FCN"):
        read(caffe.model(layers), tmp_path / "VGG_ILSVRC_16_layers.caffemodel")
