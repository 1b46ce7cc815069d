"""Files that are not a network: each says what was found and what to do."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fcnrt.checkpoints import read_checkpoint
from fcnrt.errors import CheckpointError

StateDict = dict[str, Tensor]
Weights = Callable[..., StateDict]


def refuse(path: Path, message: str, **arguments: Any) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(path, **arguments)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "weights_only" not in text  # torch's own message advises to switch it off


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.zeros(3))
    return file.getvalue()


def other_zip(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"\n <!DOCTYPE html><html>Sign in</html>", "HTML or XML page.*download the checkpoint again"),
        (b"<html><body>Too many requests</body></html>", "HTML or XML page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "HTML or XML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n", "run git lfs pull"),
        (b"\x1f\x8b\x08\x00rest", "compressed file; decompress it"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"name".ljust(257, b"\0") + b"ustar\x0000", "tar archive; unpack it"),
        (bytes(range(128, 256)) * 9, r"no checkpoint that fcnrt knows \(its 1152 bytes begin with"),
        (b"just text", "no checkpoint that fcnrt knows .*just text"),
        (b"PK", "no checkpoint that fcnrt knows"),
        (b"\x80", "no checkpoint that fcnrt knows"),
        (npz(), r"its 1 tensors \('a'\) are no network that fcnrt knows"),
        (other_zip("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py"), "TorchScript archive.*state_dict"),
        (other_zip("word/document.xml"), "zip archive that torch.save did not write .*word/document.xml"),
        (other_zip(), r"zip archive that torch.save did not write \(it holds nothing\)"),
        (other_zip("a/data.pkl", "b/data.pkl"), "zip archive that torch.save did not write"),
        (pickle.dumps({"epoch": 3}), "a pickle of a dict that torch.save did not write"),
        (b"\x40\0\0\0\0\0\0\0{}", "header ends at byte 72, and the file has 10: it is truncated"),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value[:24],
)
def test_other_kinds_of_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "fcn8s.pt"
    path.write_bytes(content)
    refuse(path, message)


def test_missing_file_directory_and_device(tmp_path: Path) -> None:
    refuse(tmp_path / "none.pt", "no such file.*Check the path")
    refuse(tmp_path, "is a directory.*Give the file inside it")
    refuse(Path(os.devnull), "not a regular file")


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such files")
def test_paths_that_never_end(tmp_path: Path) -> None:
    """Nobody writes into the pipe, and the device gives zeros for ever."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "zero").symlink_to("/dev/zero")
    refuse(tmp_path / "pipe", "not a regular file.*Copy it to disk first")
    refuse(tmp_path / "zero", "not a regular file")
    refuse(tmp_path / "loop", "cannot be read .*symbolic links")
    refuse(tmp_path / "loop" / "a", "cannot be read")
    refuse(tmp_path / ("x" * 300), "cannot be read .*name too long")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.pt"
    path.touch(mode=0o000)
    refuse(path, "cannot be read .*Permission denied")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("container", ["torch zip", "torch legacy", "safetensors"])
def test_truncated_files(weights: Weights, tmp_path: Path, container: str, share: float) -> None:
    path = tmp_path / "a"
    if container == "safetensors":
        save_file(weights(), path)
    else:
        torch.save(weights(), path, _use_new_zipfile_serialization=container == "torch zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    refuse(path, "truncated.* [Cc]opy or download")


def test_payloads_without_weights(weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    for payload, message in (
        ([1, 2], "holds a list; expected a state dict"),
        (torch.zeros(3), "holds a tensor; expected a state dict"),
        ({}, r"no tensors, only the keys \(none\)"),
        ({"epoch": 1, "loss": 2.0}, "no tensors, only the keys 'epoch', 'loss'; .*model_state_dict"),
        (
            weights() | {"conv1_1.weight": [1.0]},
            "'conv1_1.weight' is of type list; expected a dense tensor",
        ),
        (weights() | {"fc6.weight": weights()["fc6.weight"].to_sparse()}, "_rebuild_sparse_tensor"),
        ({3: torch.zeros(1)}, "its key '3' is of type int; expected names of parameters"),
        (weights() | {"module.fc6.bias": torch.zeros(64)}, "two tensors for 'fc6.bias'"),
        (torch.optim.Adam(nn.Linear(1, 1).parameters()).state_dict(), "only the keys 'state', 'param_groups'"),
        ({"optimizer_state_dict": {"state": {0: {"exp_avg": torch.zeros(1)}}}}, "only the keys 'optimizer_state_dict'"),
    ):
        torch.save(payload, path)
        refuse(path, message)


def test_vgg_classifier(tmp_path: Path) -> None:
    state = {"features.0.weight": torch.zeros(64, 3, 3, 3), "features.0.bias": torch.zeros(64)}
    for index, shape in ((0, (8, 25)), (3, (8, 8)), (6, (1000, 8))):
        state[f"classifier.{index}.weight"] = torch.zeros(shape)
    torch.save(state, tmp_path / "vgg16.pth")
    refuse(tmp_path / "vgg16.pth", "ImageNet VGG classifier, not an FCN.*fcnrt convolutionalize")


def change(state: StateDict, key: str, shape: tuple[int, ...] | None) -> StateDict:
    changed = dict(state)
    if shape is None:
        del changed[key]
    else:
        changed[key] = torch.zeros(shape)
    return changed


@pytest.mark.parametrize(
    ("key", "shape", "message"),
    [
        ("conv3_1.weight", (4, 3, 3, 3), r"'conv3_1.weight' has shape \(4, 3, 3, 3\); expected \(4, 2, 3, 3\)"),
        ("fc6.bias", (5,), r"'fc6.bias' has shape \(5,\); expected \(64,\) for fcn8s"),
        ("score_pool4.weight", (5, 8, 1, 1), "disagree about .*score_fr.weight has 3, score_pool4.weight has 5"),
        ("upscore8.weight", (4, 4, 16, 16), "disagree about .*upscore8.weight has 4"),
        ("upscore2.weight", (3, 4, 4, 4), r"'upscore2.weight' has shape .*expected \(3, 3, 4, 4\)"),
        ("conv1_1.weight", None, r"not those of fcn8s: 1 missing \('conv1_1.weight'\)"),
        ("extra.weight", (1,), r"not those of fcn8s: 1 unexpected \('extra.weight'\); expected 39 in all"),
        ("fc6.weight", None, "no network that fcnrt knows.*nearest is pytorch-fcn, but fc6.weight is missing"),
        ("score_fr.weight", (3, 64), "but score_fr.weight has 2 dimensions, expected 4"),
        ("score_fr.weight", (0, 64, 1, 1), "disagree about"),
    ],
)
def test_wrong_tensors(weights: Weights, tmp_path: Path, key: str, shape: tuple[int, ...] | None, message: str) -> None:
    torch.save(change(weights(), key, shape), tmp_path / "a.pt")
    refuse(tmp_path / "a.pt", message)


def test_many_wrong_keys_are_counted(weights: Weights, tmp_path: Path) -> None:
    state = {key.replace("conv", "block"): tensor for key, tensor in weights().items()}
    torch.save(state, tmp_path / "a.pt")
    refuse(tmp_path / "a.pt", r"26 missing \(.* and 22 more\) and 26 unexpected \('block1_1.weight', .*22 more\)")


def test_unknown_network(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "a.pt")
    message = r"its 2 tensors \('weight', 'bias'\) are no network that fcnrt knows; .*pytorch-fcn, .*, Caffe names$"
    refuse(tmp_path / "a.pt", message)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite(weights: Weights, tmp_path: Path, value: float) -> None:
    state = weights()
    state["conv4_2.weight"][0, :2, 0, 0] = value
    torch.save(state, tmp_path / "a.pt")
    refuse(tmp_path / "a.pt", r"'conv4_2.weight' has 2 of 576 weights that are NaN or infinite")


def test_large_but_finite_weights_are_read(weights: Weights, tmp_path: Path) -> None:
    state = weights() | {"fc6.bias": torch.full((64,), 3e38)}
    torch.save(state, tmp_path / "a.pt")
    assert torch.equal(read_checkpoint(tmp_path / "a.pt").state_dict["fc6.bias"], state["fc6.bias"])
    torch.save(state | {"fc6.bias": torch.full((64,), 1e300, dtype=torch.float64)}, tmp_path / "a.pt")
    refuse(tmp_path / "a.pt", "'fc6.bias' has 64 of 64 weights that are NaN or infinite in float32")


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_weights_that_are_not_floats(weights: Weights, tmp_path: Path, dtype: torch.dtype) -> None:
    torch.save(weights() | {"fc7.bias": torch.zeros(64).to(dtype)}, tmp_path / "a.pt")
    name = str(dtype).removeprefix("torch.")
    refuse(tmp_path / "a.pt", f"'fc7.bias' is {name}; expected weights of float16, bfloat16, float32, float64")


def test_contradictions(weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(weights(), path)
    refuse(path, "arch='fcn16s' was asked for, but its tensors are those of 'fcn8s' or 'fcn8s-atonce'", arch="fcn16s")
    refuse(path, r"classes= has 2 names \('a', 'b'\), the network has 3", classes=["a", "b"])
    torch.save({"arch": "FCN32s", "state_dict": weights()}, path)
    refuse(path, "its metadata says 'fcn32s', but its tensors are .* pass arch='fcn8s'")
    assert read_checkpoint(path, arch="fcn8s").spec.arch == "fcn8s"
    torch.save({"arch": "DataParallel", "state_dict": weights()}, path)  # says nothing
    assert read_checkpoint(path).spec.sources["arch"] == "default"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arch": "fcn16s"}, "its tensors are not those of fcn16s: 1 missing .'upscore16.weight'"),
        ({"arch": "fcn-resnet5"}, "its metadata says arch 'fcn-resnet5'; known are .*Update fcnrt"),
        (
            {"num_classes": "2", "classes": '["a", "b"]', "palette": "[[0,0,0],[1,1,1]]"},
            r"'score_fr.weight' has shape \(3, 64, 1, 1\); expected \(2, 64, 1, 1\)",
        ),
        ({"options": '{"width": 99}'}, "times as wide as the original's; expected at most 64"),
        ({"options": '{"depth": 50}'}, "its metadata does not fit: fcn8s has no option depth"),
        ({"options": '{"padding": "x"}'}, "option padding of fcn8s is 'x'; expected a value like 100"),
        ({"options": '{"padding": -1}'}, "expected a whole number of at least 0"),
        ({"heads": '{"out": ["class 0", "class 1", "class 2"]}'}, "names for the heads .*'out': 3"),
        ({"palette": "red"}, "broken metadata"),
        ({"fcnrt_format": "9"}, "Update fcnrt"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)
def test_metadata_that_lies(weights: Weights, tmp_path: Path, change: dict[str, str], message: str) -> None:
    path = tmp_path / "a.safetensors"
    torch.save(weights(), path)
    spec = read_checkpoint(path).spec
    save_file(weights(), path, metadata=spec.to_metadata() | change)
    refuse(path, message)
