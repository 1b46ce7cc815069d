"""What the registry says of a file is used where the file says nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fcnrt
from fcnrt.checkpoints import Overrides, read_checkpoint
from fcnrt.loading import published
from fcnrt.models import create_model
from fcnrt.palettes import VOC_CLASSES
from fcnrt.preprocessing import PRESETS
from fcnrt.pretrained import REGISTRY, registry


@pytest.fixture
def at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An entry of a slim FCN-8s at once, whose file's name does not say so, in a cache of its own."""
    monkeypatch.setenv("FCNRT_CACHE", str(tmp_path))
    entry = replace(
        REGISTRY["fcn8s-atonce-voc"],
        name="slim",
        file_name="fcn8s.pth",
        num_classes=3,
        classes=("void", "sky", "sea"),
        normalization=PRESETS["caffe-vgg"],
        digest=None,
    )
    monkeypatch.setattr(registry, "REGISTRY", {"slim": entry})
    monkeypatch.setattr("fcnrt.loading.pull", lambda name, progress: tmp_path / "fcn8s.pth")
    torch.save(create_model("fcn8s", 3, width=1 / 64).state_dict(), tmp_path / "fcn8s.pth")
    return entry


def test_the_registry_goes_before_the_files_name(at_once: Any, tmp_path: Path) -> None:
    model = fcnrt.load("slim", device="cpu")
    spec = model.spec
    assert (spec.arch, spec.classes, spec.normalization.name) == ("fcn8s-atonce", ("void", "sky", "sea"), "caffe-vgg")
    assert {spec.sources[field] for field in ("arch", "classes", "normalization")} == {"registry"}
    assert {spec.sources[field] for field in ("num_classes", "width")} == {"tensor shapes"}
    assert fcnrt.load(tmp_path / "fcn8s.pth", device="cpu").spec.sources["arch"] == "default"
    assert published(str(tmp_path / "fcn8s.pth")) is None


def test_the_caller_and_the_file_go_before_the_registry(at_once: Any, tmp_path: Path) -> None:
    spec = fcnrt.load("slim", device="cpu", arch="fcn8s", normalization="digits", classes=("a", "b", "c")).spec
    assert (spec.arch, spec.classes, spec.normalization.name) == ("fcn8s", ("a", "b", "c"), "digits")
    assert {spec.sources[field] for field in ("arch", "classes", "normalization")} == {"argument"}
    state = torch.load(tmp_path / "fcn8s.pth", weights_only=True)
    torch.save({"model_state_dict": state, "arch": "FCN8s"}, tmp_path / "fcn8s.pth")
    spec = fcnrt.load("slim", device="cpu").spec
    assert (spec.arch, spec.sources["arch"]) == ("fcn8s", "file metadata")


def test_what_the_registry_says_of_another_net(at_once: Any, tmp_path: Path) -> None:
    with pytest.raises(fcnrt.CheckpointError, match="the registry says 'fcn32s', but its tensors are those of 'fcn8s'"):
        read_checkpoint(tmp_path / "fcn8s.pth", registry=Overrides("fcn32s"))
    other = read_checkpoint(tmp_path / "fcn8s.pth", registry=Overrides(classes=("a", "b")))
    assert other.spec.sources["classes"] == "default"


def test_options_of_the_registry(tmp_path: Path) -> None:
    """D8 by the file's name, D6 by the registry, which knows the published file; and by metadata before both."""
    path = tmp_path / "fcn_r50-d8_512x512.pth"
    state = create_model("mmseg-fcn-resnet18", 4, width=1 / 64).state_dict()
    torch.save({"state_dict": state, "meta": {"config": "FCNHead, align_corners=False"}}, path)
    options = {"output_stride": 16, "head_dilation": 6, "align_corners": True}
    spec = read_checkpoint(path, registry=Overrides("mmseg-fcn-resnet18", options=options)).spec
    assert {name: spec.options[name] for name in options} == {**options, "head_dilation": 1, "align_corners": False}
    assert [spec.sources[name] for name in options] == ["registry", "file metadata", "file metadata"]


def test_a_classifiers_convention_is_the_registrys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Caffe's VGG16 has torchvision's tensors, and another input."""
    layers: list[nn.Module] = []
    channels = 3
    for block, depth in ((4, 2), (8, 2), (16, 3), (32, 3), (32, 3)):
        for _ in range(depth):
            layers += [nn.Conv2d(channels, block, 3), nn.ReLU()]
            channels = block
        layers.append(nn.MaxPool2d(2))
    head = nn.Sequential(
        nn.Linear(32 * 49, 256),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(256, 9),
    )
    state = nn.ModuleDict({"features": nn.Sequential(*layers), "classifier": head}).state_dict()
    torch.save(state, tmp_path / "vgg16.pth")
    monkeypatch.setattr("fcnrt.loading.pull", lambda name, progress: tmp_path / "vgg16.pth")
    model = fcnrt.convolutionalize("vgg16-caffe", "fcn32s", 3, device="cpu")
    assert (model.spec.normalization.name, model.spec.sources["normalization"]) == ("caffe-voc", "registry")
    model = fcnrt.convolutionalize(tmp_path / "vgg16.pth", "fcn32s", 3, device="cpu")
    assert (model.spec.normalization.name, model.spec.sources["normalization"]) == ("imagenet", "default")
    model = fcnrt.convolutionalize("vgg16", "fcn32s", 3, device="cpu", normalization="digits")
    assert (model.spec.normalization.name, model.spec.sources["normalization"]) == ("digits", "argument")


def test_all_that_the_registry_knows_of_a_net() -> None:
    assert published("fcn_resnet50_coco") == Overrides(
        "fcn-resnet50", PRESETS["imagenet"], VOC_CLASSES, {"output_stride": 8}
    )
