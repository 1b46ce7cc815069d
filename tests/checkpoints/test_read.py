"""Good files: every container, wrapping and source of what a file leaves unsaid."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fcnrt.checkpoints import Checkpoint, read_checkpoint, write_safetensors
from fcnrt.errors import CheckpointError, InputError
from fcnrt.palettes import VOC_CLASSES
from fcnrt.preprocessing import PRESETS, Normalization

StateDict = dict[str, Tensor]
Weights = Callable[..., StateDict]


def assert_same(checkpoint: Checkpoint, expected: StateDict) -> None:
    assert set(checkpoint.state_dict) == set(expected)
    for key, tensor in checkpoint.state_dict.items():
        assert tensor.dtype == torch.float32 and tensor.is_contiguous() and tensor.device.type == "cpu"
        assert torch.equal(tensor, expected[key].float()), key


def save(state: Any, path: Path, container: str, protocol: int = 2) -> Path:
    if container == "safetensors":
        save_file(state, path)
    else:
        torch.save(
            state,
            path,
            pickle_protocol=protocol,
            _use_new_zipfile_serialization=container == "torch zip",
        )
    return path


CONTAINERS = ["torch zip", "torch legacy", "safetensors"]


@pytest.mark.parametrize("arch", ["fcn32s", "fcn16s", "fcn8s"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_bare_state_dicts(weights: Weights, tmp_path: Path, container: str, arch: str) -> None:
    state = weights(arch, num_classes=21)
    checkpoint = read_checkpoint(save(state, tmp_path / "weights.bin", container))
    assert_same(checkpoint, state)
    assert (checkpoint.container, checkpoint.layout) == (container, "pytorch-fcn")
    spec = checkpoint.spec
    assert (spec.arch, spec.num_classes, spec.width) == (arch, 21, 1 / 64)
    assert (spec.classes, spec.normalization) == (VOC_CLASSES, PRESETS["caffe-voc"])
    assert spec.sources["num_classes"] == spec.sources["width"] == "tensor shapes"
    assert spec.sources["classes"] == spec.sources["normalization"] == "default"
    assert spec.sources["arch"] == ("default" if arch == "fcn8s" else "tensor shapes")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("container", ["torch zip", "torch legacy"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, about protocols that it may not read itself
def test_trainer_checkpoint(weights: Weights, tmp_path: Path, container: str, protocol: int) -> None:
    """What torchfcn/trainer.py saves, with the keys of DataParallel twice, and notes of other trainers."""
    state = weights()
    parameters = [torch.nn.Parameter(tensor.clone()) for tensor in state.values()]
    optimizer = torch.optim.Adam(parameters)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    payload = {
        "epoch": 3,
        "iteration": 2**40,
        "arch": "FCN8sAtOnce",
        "optim_state_dict": optimizer.state_dict(),
        "model_state_dict": {f"module.module.{key}": value for key, value in state.items()},
        "best_mean_iu": np.float64(0.5),
        "args": argparse.Namespace(lr=1e-10, out=Path("logs"), gpus={0, 1}),
        "milestones": Counter({10: 1}),
        "history": np.arange(3.0),
        "raw": b"\x00\xff",
    }
    checkpoint = read_checkpoint(save(payload, tmp_path / "model_best.pth.tar", container, protocol))
    assert_same(checkpoint, state)
    assert checkpoint.spec.arch == "fcn8s-atonce"
    assert checkpoint.spec.sources["arch"] == "file metadata"
    assert checkpoint.wrapping == ("model_state_dict", "module.")
    assert checkpoint.notes == ()


@pytest.mark.parametrize("key", ["model_state", "state_dict", "model", "net", "network", "weights", "params", "ema"])
def test_wrapper_keys(weights: Weights, tmp_path: Path, key: str) -> None:
    state = weights("fcn32s")
    checkpoint = read_checkpoint(save({"epoch": 1, key: {"model": state}}, tmp_path / "a.pt", "torch zip"))
    assert_same(checkpoint, state)
    assert checkpoint.wrapping == (key, "model")


def test_prefixes_are_stripped_per_key(weights: Weights, tmp_path: Path) -> None:
    state = weights("fcn32s")
    prefixes = ["", "module.", "_orig_mod.", "module._orig_mod.module."]
    mixed = {prefixes[index % 4] + key: tensor for index, (key, tensor) in enumerate(state.items())}
    mixed["module.conv1_1._orig_mod.weight"] = mixed.pop("conv1_1.weight")
    checkpoint = read_checkpoint(save(mixed, tmp_path / "a.pt", "torch zip"))
    assert_same(checkpoint, state)
    assert checkpoint.wrapping == ("module.", "_orig_mod.")


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types(weights: Weights, tmp_path: Path, container: str, dtype: torch.dtype) -> None:
    state = {key: tensor.to(dtype) for key, tensor in weights("fcn32s").items()}
    checkpoint = read_checkpoint(save(state, tmp_path / "a", container))
    assert_same(checkpoint, state)
    assert checkpoint.stored_dtypes == (str(dtype).removeprefix("torch."),)


@pytest.mark.parametrize("container", ["torch zip", "torch legacy"])
def test_strided_tensors(weights: Weights, tmp_path: Path, container: str) -> None:
    """Channels-last weights, views into one large storage, transposed views, parameters."""
    state = weights()
    flat = torch.cat([state["fc7.weight"].flatten(), state["score_fr.weight"].flatten()])
    split = state["fc7.weight"].numel()
    saved = {key: tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
             for key, tensor in state.items()}  # fmt: skip
    saved["fc7.weight"] = flat[:split].view(state["fc7.weight"].shape)
    saved["score_fr.weight"] = flat[split:].view(state["score_fr.weight"].shape)
    saved["fc6.weight"] = state["fc6.weight"].transpose(2, 3).contiguous().transpose(2, 3)
    saved["fc6.bias"] = torch.nn.Parameter(state["fc6.bias"])
    assert_same(read_checkpoint(save(saved, tmp_path / "a", container)), state)


def test_own_format_needs_no_guess(weights: Weights, tmp_path: Path) -> None:
    state = weights("fcn8s-atonce", width=0.3 / 8)
    first = read_checkpoint(save(state, tmp_path / "a.pt", "torch zip"), arch="fcn8s-atonce")
    custom = Normalization("custom", "rgb", 1 / 255, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    spec = replace(first.spec, classes=("a", "b", "c"), normalization=custom, options={"width": 0.3 / 8})
    path = tmp_path / "own.safetensors"
    write_safetensors(path, spec, {key: tensor.bfloat16() for key, tensor in state.items()})
    checkpoint = read_checkpoint(path)
    assert_same(checkpoint, {key: tensor.bfloat16() for key, tensor in state.items()})
    assert checkpoint.spec == spec
    assert checkpoint.notes == ()
    assert checkpoint.layout == "fcnrt"
    assert set(checkpoint.spec.sources.values()) == {"file metadata"}


@pytest.mark.parametrize(
    ("name", "arch", "source"),
    [
        ("fcn8s.pth", "fcn8s", "default"),
        ("fcn8s-atonce_from_caffe.pth", "fcn8s-atonce", "file name"),
        ("FCN8s_AtOnce.pt", "fcn8s-atonce", "file name"),
        ("at_once.pt", "fcn8s-atonce", "file name"),
    ],
)
def test_staged_or_at_once_by_file_name(weights: Weights, tmp_path: Path, name: str, arch: str, source: str) -> None:
    path = save(weights(), tmp_path / name, "torch zip")
    checkpoint = read_checkpoint(path)
    assert (checkpoint.spec.arch, checkpoint.spec.sources["arch"]) == (arch, source)
    assert len(checkpoint.notes) == 1 and "fcn8s-atonce" in checkpoint.notes[0]
    told = read_checkpoint(path, arch="fcn8s")
    assert (told.spec.arch, told.spec.sources["arch"], told.notes) == ("fcn8s", "argument", ())


def test_arguments_go_first(weights: Weights, tmp_path: Path) -> None:
    first = read_checkpoint(save(weights(), tmp_path / "a.pt", "torch zip"))
    path = tmp_path / "own.safetensors"
    write_safetensors(path, first.spec, first.state_dict)
    told = read_checkpoint(path, arch="FCN8sAtOnce", normalization="imagenet", classes=["x", "y", "z"])
    assert told.spec.arch == "fcn8s-atonce"
    assert told.spec.normalization == PRESETS["imagenet"]
    assert told.spec.classes == ("x", "y", "z")
    assert {told.spec.sources[field] for field in ("arch", "normalization", "classes")} == {"argument"}


def test_classes_without_names(weights: Weights, tmp_path: Path) -> None:
    spec = read_checkpoint(save(weights(num_classes=2), tmp_path / "a.pt", "torch zip")).spec
    assert spec.classes == ("class 0", "class 1")
    assert spec.palette == ((0, 0, 0), (128, 0, 0))


@pytest.mark.parametrize("width", [0.3, 0.11, 1 / 7])
def test_rounded_widths(weights: Weights, tmp_path: Path, width: float) -> None:
    """0.3 makes 19 channels of 64, and 19/64 would not make the 77 of 256 that the file has."""
    state = weights("fcn32s", width=width / 4)
    assert_same(read_checkpoint(save(state, tmp_path / "a.pt", "torch zip")), state)


def test_returned_weights_do_not_depend_on_the_file(weights: Weights, tmp_path: Path) -> None:
    """A mapped file that is overwritten in place would take the process down."""
    state = weights()
    for container in CONTAINERS:
        path = save(state, tmp_path / "a", container)
        checkpoint = read_checkpoint(path)
        path.write_bytes(b"")
        assert_same(checkpoint, state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arch": "fcn4s"}, "unknown architecture 'fcn4s'; known are fcn32s, fcn16s, fcn8s, fcn8s-atonce, "),
        ({"arch": 8}, "unknown architecture 8"),
        ({"normalization": "vgg"}, "unknown normalization 'vgg'"),
        ({"classes": "road"}, "expected a list of names"),
        ({"classes": [1, 2]}, "expected strings"),
        ({"options": ["width"]}, "expected names and their values"),
        ({"options": {"width": [1]}}, "expected names and their values"),
    ],
)
def test_arguments_are_checked_before_the_file(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_checkpoint("missing.pt", **arguments)


def test_path_must_be_one() -> None:
    with pytest.raises(InputError, match="the checkpoint is a dict; expected the path of a file"):
        read_checkpoint({})  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match="no path"):
        read_checkpoint("a\0b")
