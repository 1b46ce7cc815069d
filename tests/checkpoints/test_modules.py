"""Whole pickled modules: their tensors are read, and none of their classes is imported."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fcnrt.checkpoints import pickled_modules, read_checkpoint
from fcnrt.errors import CheckpointError
from fcnrt.models import create_model

StateDict = dict[str, Tensor]


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, nn.Module, Path, Callable[[nn.Module], Any]], None]:
    """Saves a network as an object of a class ``fcn.NAME``, of a program that is gone when it is read."""

    def save(name: str, net: nn.Module, path: Path, wrap: Callable[[nn.Module], Any]) -> None:
        module = types.ModuleType("fcn")
        cls = type(name, (type(net),), {"__module__": "fcn"})
        setattr(module, name, cls)
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "fcn", module)
            net.__class__ = cls
            torch.save(wrap(net), path)

    return save


@pytest.mark.parametrize(
    "wrap",
    [
        lambda net: net,
        nn.DataParallel,
        lambda net: {"epoch": 1, "model": net},
        lambda net: {"net": nn.DataParallel(net)},
    ],
    ids=["bare", "DataParallel", "in a dict", "both"],
)
@pytest.mark.parametrize(("name", "arch"), [("FCNs", "pochih-fcns"), ("FCN8s", "pochih-fcn8s")])
def test_pochih_saves_modules(tmp_path: Path, foreign: Any, name: str, arch: str, wrap: Any) -> None:
    net = create_model(arch, 20, width=1 / 64)
    expected = {key: value for key, value in net.state_dict().items() if not key.endswith("num_batches_tracked")}
    foreign(name, net, tmp_path / "FCNs-BCEWithLogits_batch6", wrap)
    assert "fcn" not in sys.modules
    checkpoint = read_checkpoint(tmp_path / "FCNs-BCEWithLogits_batch6")
    assert "fcn" not in sys.modules
    assert set(checkpoint.state_dict) == set(expected)
    assert all(torch.equal(checkpoint.state_dict[key], value) for key, value in expected.items())
    assert (checkpoint.spec.arch, checkpoint.spec.sources["arch"]) == (arch, "file metadata")
    assert "pickled module" in checkpoint.wrapping and checkpoint.notes == ()


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_any_layout_can_be_pickled(tmp_path: Path, new: bool) -> None:
    net = create_model("fcn-resnet18", 3, width=1 / 16)
    net.register_buffer("scratch", torch.zeros(5), persistent=False)
    torch.save(net, tmp_path / "fcn_resnet18.pth", _use_new_zipfile_serialization=new)
    checkpoint = read_checkpoint(tmp_path / "fcn_resnet18.pth")
    assert checkpoint.spec.arch == "fcn-resnet18"
    assert torch.equal(checkpoint.state_dict["backbone.conv1.weight"], net.state_dict()["backbone.conv1.weight"])


def test_parameters_of_old_torch(forge_legacy: Callable[..., Path]) -> None:
    """Before 0.4 a Parameter was an object around its tensor."""
    data = (
        b"\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81}(X\x0b\x00\x00\x00_parametersccollections\nOrderedDict\n]\x85R"
        b"X\x06\x00\x00\x00weightctorch.nn.parameter\nParameter\nctorch._utils\n_rebuild_tensor\n"
        b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01NtQK\x00(K\x01tK\x01\x85tR"
        b"\x85\x81(\x89\x89NtbsX\x08\x00\x00\x00_buffers}X\x08\x00\x00\x00_modules}ub."
    )
    path = forge_legacy(data, ["0"], (1).to_bytes(8, "little") + bytes(4))
    with pytest.raises(CheckpointError, match=r"its 1 tensors \('weight'\) are no network"):
        read_checkpoint(path)


class Part(nn.Module):
    """Has what a test gives it."""

    def __init__(self, **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            self._modules[name] = part


def test_modules_that_share_modules_without_end(tmp_path: Path) -> None:
    """2**40 names for one module."""
    part: nn.Module = nn.Linear(1, 1)
    for _ in range(40):
        part = Part(a=part, b=part)
    torch.save(part, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"more than 100000 parts, or they are nested deeper than 64"):
        read_checkpoint(tmp_path / "a.pt")


def test_modules_inside_themselves(tmp_path: Path) -> None:
    part = Part()
    part._modules["again"] = part
    torch.save(part, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a part named 'again' in 'again\.again.*at most 256 letters in all"):
        read_checkpoint(tmp_path / "a.pt")


def test_modules_nested_too_deep(tmp_path: Path) -> None:
    """By names so short that only their number can be too much."""
    part: nn.Module = nn.Linear(1, 1)
    for _ in range(pickled_modules.MAX_DEPTH + 2):
        part = Part(a=part)
    torch.save(part, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="nested deeper than 64"):
        read_checkpoint(tmp_path / "a.pt")


def test_names_that_multiply(tmp_path: Path) -> None:
    part: nn.Module = nn.Linear(1, 1)
    part._parameters["x" * (pickled_modules.MAX_NAME + 1)] = part._parameters.pop("bias")
    torch.save(part, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a part named 'xxx.*expected at most 256 letters"):
        read_checkpoint(tmp_path / "a.pt")


def test_parts_that_are_no_tensors(tmp_path: Path) -> None:
    part = nn.Linear(1, 1)
    part._buffers["scale"] = [1.0]  # type: ignore[assignment]
    torch.save(part, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="'scale' is of type list; expected a dense tensor"):
        read_checkpoint(tmp_path / "a.pt")
