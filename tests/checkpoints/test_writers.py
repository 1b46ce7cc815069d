from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from fcnrt.checkpoints import read_checkpoint, write_pytorch_fcn, write_safetensors
from fcnrt.errors import CheckpointError
from fcnrt.palettes import voc_palette
from fcnrt.preprocessing import PRESETS
from fcnrt.spec import ModelSpec

Weights = Callable[..., dict[str, Tensor]]
SPEC = ModelSpec("fcn8s", 3, ("a", "b", "c"), voc_palette(3), PRESETS["caffe-voc"], {"width": 1 / 64})


def test_safetensors_is_read_by_the_safetensors_package(weights: Weights, tmp_path: Path) -> None:
    state = {key: tensor.half() for key, tensor in weights().items()}
    write_safetensors(tmp_path / "a.safetensors", SPEC, state)
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata() == SPEC.to_metadata()
        assert set(file.keys()) == set(state)
        assert all(torch.equal(file.get_tensor(key), state[key]) for key in state)


def test_pytorch_fcn_is_what_torch_loads(weights: Weights, tmp_path: Path) -> None:
    state = weights()
    write_pytorch_fcn(tmp_path / "a.pt", state)
    loaded = torch.load(tmp_path / "a.pt", weights_only=True)
    assert list(loaded) == list(state)
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_views_are_written_alone(weights: Weights, tmp_path: Path) -> None:
    """A state dict of slices would otherwise drag the tensors along that they are slices of."""
    large = torch.zeros(1_000_000)
    state = weights() | {"score_fr.bias": large[:3], "score_pool4.bias": large[3:6]}
    state["fc7.weight"] = state["fc7.weight"].permute(1, 0, 2, 3)
    state["fc7.bias"].requires_grad_()
    for write in (write_pytorch_fcn, lambda path, state: write_safetensors(path, SPEC, state)):
        path = tmp_path / "a"
        write(path, state)
        assert path.stat().st_size < 1_000_000
        assert torch.equal(read_checkpoint(path).state_dict["fc7.weight"], state["fc7.weight"])


def test_files_have_the_usual_permissions(weights: Weights, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_safetensors(tmp_path / "a.safetensors", SPEC, weights())
    write_pytorch_fcn(tmp_path / "a.pt", weights())
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_failed_write_changes_nothing(weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise OSError("disk full")

    path = tmp_path / "a.pt"
    path.write_bytes(b"precious")
    monkeypatch.setattr(os, "replace", fail)
    for write in (write_pytorch_fcn, lambda path, state: write_safetensors(path, SPEC, state)):
        with pytest.raises(CheckpointError, match=r"a\.pt: cannot be written \(disk full\)"):
            write(path, weights())
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("a.pt", b"precious")]


def test_missing_folder(weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be written"):
        write_pytorch_fcn(tmp_path / "none" / "a.pt", weights())
