"""Files of torchvision, mmseg and warmspringwinds: keys as they have them, and what their trainers save beside."""

from __future__ import annotations

import argparse
import sys
import types
from collections import OrderedDict
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

COUNTER = {"backbone.layer1.0.bn1.num_batches_tracked": torch.tensor(7)}


def read(state: Any, path: Path, **arguments: Any) -> Checkpoint:
    torch.save(state, path)
    return read_checkpoint(path, **arguments)


def assert_same(found: StateDict, expected: StateDict) -> None:
    assert set(found) == set(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("aux", [True, False])
@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_torchvision(weights: Weights, tmp_path: Path, depth: int, aux: bool) -> None:
    state = weights(f"fcn-resnet{depth}", width=1 / 16, aux=aux)
    assert {"backbone.conv1.weight", "classifier.0.weight", "classifier.1.running_var", "classifier.4.bias"} < set(
        state
    )
    checkpoint = read(OrderedDict(state | COUNTER), tmp_path / f"fcn_resnet{depth}_coco-1167a1af.pth")
    assert_same(checkpoint.state_dict, state)
    spec = checkpoint.spec
    assert (checkpoint.layout, spec.arch, spec.normalization.name) == ("torchvision", f"fcn-resnet{depth}", "imagenet")
    assert spec.options == {"width": 1 / 16, "aux": aux, "output_stride": 8 if depth >= 50 else 32}
    assert spec.sources["output_stride"] == "file name"
    assert checkpoint.notes == ()


def test_torchvision_reference_trainer(weights: Weights, tmp_path: Path) -> None:
    """``references/segmentation/train.py``, and WZMIAOMIAO's after it: a Namespace beside the weights."""
    state = weights("fcn-resnet50", width=1 / 16, aux=True)
    average = {"n_averaged": torch.tensor(3)} | {f"module.{key}": value + 1 for key, value in state.items()}
    payload = {
        "model": state,
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.01}]},
        "epoch": 29,
        "args": argparse.Namespace(dataset="coco", model="fcn_resnet50", aux_loss=True, lr=0.01),
        "model_ema": average,
    }
    checkpoint = read(payload, tmp_path / "model_29.pth")
    assert_same(checkpoint.state_dict, state)
    assert checkpoint.wrapping == ("model",)
    assert checkpoint.spec.sources["output_stride"] == "default"
    assert len(checkpoint.notes) == 1 and "output_stride 8 is assumed" in checkpoint.notes[0]
    told = read_checkpoint(tmp_path / "model_29.pth", options={"output_stride": 16})
    assert (told.spec.options["output_stride"], told.spec.sources["output_stride"]) == (16, "argument")
    assert told.notes == ()
    del payload["model"]
    averaged = read(payload, tmp_path / "ema.pth")
    assert_same(averaged.state_dict, {key: value + 1 for key, value in state.items()})
    assert averaged.wrapping == ("model_ema", "module.")


@pytest.mark.parametrize("prefix", ["model.", "net.", "model.net."])
def test_lightning(weights: Weights, tmp_path: Path, prefix: str) -> None:
    state = weights("fcn-resnet18", width=1 / 16)
    payload = {
        "state_dict": {f"{prefix}{key}": value for key, value in state.items()} | {"criterion.weight": torch.ones(3)},
        "pytorch-lightning_version": "2.0.0",
        "hyper_parameters": {"lr": 0.1},
        "callbacks": {},
    }
    checkpoint = read(payload, tmp_path / "fcn_resnet18.ckpt")
    assert_same(checkpoint.state_dict, state)
    assert checkpoint.wrapping == ("state_dict", prefix)
    assert checkpoint.notes == (f"left out: 1 tensor beside {prefix!r}",)


CONFIG = """
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    backbone=dict(type='ResNetV1c', depth=50, dilations=(1, 1, {dilations}), strides=(1, 2, {strides})),
    decode_head=dict(type='FCNHead', num_convs=2, concat_input=True,{dilation} align_corners={corners}),
    auxiliary_head=dict(type='FCNHead', in_channels=1024, align_corners={corners}))
"""


def config(strides: str = "1, 1", dilations: str = "2, 4", dilation: str = "", corners: bool = False) -> str:
    return CONFIG.format(strides=strides, dilations=dilations, dilation=dilation, corners=corners)


@pytest.mark.parametrize(
    ("text", "stride", "dilation", "corners"),
    [
        (config(), 8, 1, False),
        (config(corners=True), 8, 1, True),
        (config(strides="2, 1", dilations="1, 2"), 16, 1, False),
        (config(strides="2, 1", dilations="1, 2", dilation=" dilation=6,", corners=True), 16, 6, True),
    ],
)
@pytest.mark.parametrize("version", [0, 1])
def test_mmseg_configuration(
    weights: Weights, tmp_path: Path, text: str, stride: int, dilation: int, corners: bool, version: int
) -> None:
    state = weights("mmseg-fcn-resnet50", width=1 / 16, aux=True)
    assert {"backbone.stem.0.weight", "decode_head.convs.0.conv.weight", "decode_head.conv_cat.bn.bias"} < state.keys()
    names, palette = ("road", "sky", "sea"), [[128, 64, 128], [70, 130, 180], [1, 2, 3]]
    old = {"mmseg_version": "0.30.0", "config": text, "CLASSES": names, "PALETTE": palette}
    new = {"cfg": text, "dataset_meta": {"classes": names, "palette": palette}, "mmengine_version": "0.10.0"}
    checkpoint = read({"meta": new if version else old, "state_dict": state, "optimizer": {}}, tmp_path / "latest.pth")
    assert_same(checkpoint.state_dict, state)
    spec = checkpoint.spec
    assert (checkpoint.layout, spec.arch, spec.normalization.name) == ("mmseg", "mmseg-fcn-resnet50", "mmseg")
    expected = {"output_stride": stride, "head_dilation": dilation, "align_corners": corners}
    assert spec.options == {"width": 1 / 16, "aux": True, "deep_stem": True, **expected}
    assert (spec.classes, spec.palette) == (names, tuple(map(tuple, palette)))
    assert {spec.sources[name] for name in (*expected, "classes", "palette")} == {"file metadata"}
    assert checkpoint.notes == ()
    write_safetensors(tmp_path / "own.safetensors", spec, checkpoint.state_dict)
    assert read_checkpoint(tmp_path / "own.safetensors").spec == spec


@pytest.mark.parametrize(
    ("name", "stride", "dilation", "corners", "source"),
    [
        ("fcn_r50-d8_512x1024_40k_cityscapes_20200604_192608-efe53f0d.pth", 8, 1, False, "file name"),
        ("fcn_r50-d8_769x769_40k_cityscapes_20200606_113104-977b5d02.pth", 8, 1, True, "file name"),
        ("fcn_d6_r50-d16_512x1024_40k_cityscapes_20210305_130133-98d5d1bc.pth", 16, 6, False, "file name"),
        ("fcn_d6_r50b-d16_769x769_80k_cityscapes_20210310_021212-7c10dc1f.pth", 16, 6, True, "file name"),
        ("iter_40000.pth", 8, 1, False, "default"),
    ],
)
@pytest.mark.parametrize("deep_stem", [True, False])
def test_mmseg_file_names(
    weights: Weights,
    tmp_path: Path,
    name: str,
    stride: int,
    dilation: int,
    corners: bool,
    source: str,
    deep_stem: bool,
) -> None:
    state = weights("mmseg-fcn-resnet18", width=1 / 16, deep_stem=deep_stem)
    assert ("backbone.stem.0.weight" in state) is deep_stem
    checkpoint = read({"state_dict": state, "meta": {}}, tmp_path / name)
    expected = {"output_stride": stride, "head_dilation": dilation, "align_corners": corners}
    assert checkpoint.spec.options == {"width": 1 / 16, "aux": False, "deep_stem": deep_stem, **expected}
    assert {checkpoint.spec.sources[option] for option in expected} == {source}
    assert len(checkpoint.notes) == (3 if source == "default" else 0)


class HistoryBuffer:
    """Stands for mmengine's, in files of mmseg 1.x."""

    def __init__(self) -> None:
        self._log_history, self._count_history, self._max_length = np.arange(3.0), np.ones(3), 1000


def test_mmseg_message_hub(weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mmengine's buffers are of a class that is not there, and that torch.load(weights_only=True) refuses."""
    module = types.ModuleType("mmengine.logging.history_buffer")
    module.HistoryBuffer = HistoryBuffer  # type: ignore[attr-defined]
    for name in ("mmengine", "mmengine.logging"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(HistoryBuffer, "__module__", module.__name__)
    state = weights("mmseg-fcn-resnet18", width=1 / 16)
    payload = {"meta": {}, "state_dict": state, "message_hub": {"log_scalars": {"train/loss": HistoryBuffer()}}}
    torch.save(payload, tmp_path / "fcn_r18-d8_512x512.pth")
    monkeypatch.undo()
    assert_same(read_checkpoint(tmp_path / "fcn_r18-d8_512x512.pth").state_dict, state)


def forked(state: StateDict, trunk: str) -> StateDict:
    """As warmspringwinds names a net whose trunk is the attribute ``trunk``."""
    return {
        key.replace("backbone.", f"{trunk}.") if key.startswith("backbone.") else f"{trunk}.{key}": tensor
        for key, tensor in state.items()
    }


@pytest.mark.parametrize(("depth", "stride"), [(18, 32), (34, 8), (34, 16), (101, 8)])
def test_warmspringwinds(weights: Weights, tmp_path: Path, depth: int, stride: int) -> None:
    state = weights(f"warmspringwinds-fcn-resnet{depth}", width=1 / 16)
    checkpoint = read(forked(state, f"resnet{depth}_{stride}s"), tmp_path / "best.pth")
    assert_same(checkpoint.state_dict, state)
    assert checkpoint.spec.arch == f"warmspringwinds-fcn-resnet{depth}"
    assert checkpoint.spec.options == {"width": 1 / 16, "output_stride": stride}
    assert checkpoint.spec.sources["output_stride"] == "tensor shapes"
    assert not checkpoint.notes


@pytest.mark.parametrize(
    ("name", "said", "stride", "source"),
    [
        ("best.pth", {}, 8, "default"),
        ("resnet_50_8s_best.pth", {}, 8, "file name"),
        ("resnet_50_16s_best.pth", {}, 16, "file name"),
        ("resnet_50_16s_best.pth", {"output_stride": 8}, 8, "argument"),
        ("best.pth", {"output_stride": 16}, 16, "argument"),
    ],
)
def test_a_stride_that_the_trunks_name_does_not_say(
    weights: Weights, tmp_path: Path, name: str, said: dict[str, int], stride: int, source: str
) -> None:
    """``Resnet50_16s`` has its trunk under the name of ``Resnet50_8s``'s."""
    state = forked(weights("warmspringwinds-fcn-resnet50", width=1 / 16), "resnet50_8s")
    checkpoint = read(state, tmp_path / name, options=said)
    assert checkpoint.spec.options["output_stride"] == stride
    assert checkpoint.spec.sources["output_stride"] == source
    assert bool(checkpoint.notes) == (source == "default")


@pytest.mark.parametrize(
    ("name", "said", "arch", "source"),
    [
        ("best.pth", None, "warmspringwinds-fcn-resnet18", "default"),
        ("resnet_9_8s.pth", None, "warmspringwinds-fcn-resnet9", "file name"),
        ("best.pth", "warmspringwinds-fcn-resnet9", "warmspringwinds-fcn-resnet9", "argument"),
        ("resnet_9_8s.pth", "warmspringwinds-fcn-resnet18", "warmspringwinds-fcn-resnet18", "argument"),
    ],
)
def test_a_net_that_runs_half_of_its_weights(
    weights: Weights, tmp_path: Path, name: str, said: str | None, arch: str, source: str
) -> None:
    state = forked(weights("warmspringwinds-fcn-resnet18", width=1 / 16), "resnet18_8s")
    checkpoint = read(state, tmp_path / name, arch=said)
    assert (checkpoint.spec.arch, checkpoint.spec.sources["arch"]) == (arch, source)
    assert bool(checkpoint.notes) == (source != "argument")


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            {"backbone.conv1.weight": 4, "classifier.0.convs.0.0.weight": 4, "classifier.4.weight": 4},
            "DeepLabV3, not an",
        ),
        ({"conv1.weight": 4, "layer4.0.conv1.weight": 4, "fc.weight": 2}, "ImageNet ResNet class.*convolutionalize"),
        ({"conv1.conv.weight": 4, "inception5b.branch1.conv.weight": 4, "fc.weight": 2}, "ImageNet GoogLeNet class"),
        ({"features.0.weight": 4, "classifier.1.weight": 2, "classifier.6.weight": 2}, "ImageNet AlexNet class"),
    ],
)
def test_what_is_no_fcn(tmp_path: Path, shapes: dict[str, int], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read({key: torch.zeros((1,) * ndim) for key, ndim in shapes.items()}, tmp_path / "a.pth")


def test_trunks_of_other_depths(weights: Weights, tmp_path: Path) -> None:
    state = weights("fcn-resnet101", width=1 / 16)
    deeper = state | {"backbone.layer3.23.conv2.weight": torch.zeros(1, 1, 3, 3)}
    with pytest.raises(
        CheckpointError, match=r"as torchvision names .* none that fcnrt knows of it: fcn-resnet18, fcn-"
    ):
        read(deeper, tmp_path / "a.pth")
