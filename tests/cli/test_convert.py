"""``fcnrt convert``: the guess becomes a fact, and nothing is overwritten unasked."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

import fcnrt
from fcnrt.cli import main


def test_a_converted_file_needs_no_guess(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "net.safetensors"
    names = "sky,road,car,tree,dog"
    assert main(["convert", str(checkpoint), str(out), "--arch", "fcn8s-atonce", "--classes", names]) == 0
    assert f"-> {out}: fcn8s-atonce, 5 classes, float32" in capsys.readouterr().out
    with caplog.at_level(logging.WARNING):
        model = fcnrt.load(out)
    assert not caplog.records
    assert model.spec.arch == "fcn8s-atonce"
    assert model.spec.classes == tuple(names.split(","))
    x = torch.randn(1, 3, 33, 47)
    assert torch.equal(model(x), fcnrt.load(checkpoint, arch="fcn8s-atonce")(x))


def test_nothing_is_overwritten_unasked(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "net.safetensors"
    out.write_bytes(b"precious")
    assert main(["convert", str(checkpoint), str(out)]) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_bytes() == b"precious"
    assert main(["convert", str(checkpoint), str(out), "--force", "--dtype", "float16"]) == 0
    assert out.stat().st_size < checkpoint.stat().st_size * 0.6
    assert main(["convert", str(checkpoint), str(tmp_path / "net.pt")]) == 2
    assert "does not end in .safetensors" in capsys.readouterr().err
