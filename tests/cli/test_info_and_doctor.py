"""``fcnrt info`` and ``fcnrt doctor``: what they say, to people and to programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import fcnrt
from fcnrt.checkpoints import read_checkpoint
from fcnrt.cli import doctor, main
from fcnrt.models import create_model


def test_info_says_what_was_recognised_and_why(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(checkpoint), "--classes", "sky,road,car,tree,dog"]) == 0
    captured = capsys.readouterr()
    lines = {line.split()[0]: line for line in captured.out.splitlines()}
    assert "torch zip" in lines["container"]
    assert "pytorch-fcn" in lines["layout"]
    assert lines["architecture"].endswith("fcn8s  [file name]") or lines["architecture"].endswith("fcn8s  [default]")
    assert lines["classes"].endswith("5: sky, road, car, tree, dog  [argument]")
    assert "caffe-voc: BGR" in lines["normalization"]
    assert "fcn8s-atonce" in captured.err


def test_info_json(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(checkpoint), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    state = torch.load(checkpoint, weights_only=True)
    assert record["parameters"] == sum(tensor.numel() for tensor in state.values())
    assert (record["num_classes"], record["arch"], record["width"]) == (5, "fcn8s", 1 / 16)


def test_info_of_a_published_name(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is fetched, and the registry says what the file does not; ``convert`` makes that a fact of the new file."""
    monkeypatch.setattr("fcnrt.loading.pull", lambda name, progress: checkpoint)
    assert main(["info", "fcn8s-atonce-voc"]) == 0
    captured = capsys.readouterr()
    lines = {line.split()[0]: line for line in captured.out.splitlines()}
    assert lines["file"].split()[1] == str(checkpoint)
    assert lines["architecture"].endswith("fcn8s-atonce  [registry]")
    assert "is assumed" not in captured.err
    out = tmp_path / "out.safetensors"
    assert main(["convert", "fcn8s-atonce-voc", str(out)]) == 0
    assert read_checkpoint(out).spec.arch == "fcn8s-atonce"


def test_info_of_a_binary_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The threshold goes into the weights, and is told all the same."""
    net = create_model("mmseg-fcn-resnet18", 1, width=1 / 16)
    torch.save({"state_dict": net.state_dict()}, tmp_path / "iter.pth")
    assert main(["info", str(tmp_path / "iter.pth")]) == 0
    assert "threshold      0.3  [default]" in capsys.readouterr().out
    assert main(["info", str(tmp_path / "iter.pth"), "--option", "threshold=0.5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["told"] == {"threshold": 0.5}


def test_info_refuses_what_is_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "fcn8s.pt"
    path.write_text("<!DOCTYPE html><html>404</html>")
    assert main(["info", str(path)]) == 4
    assert "HTML" in capsys.readouterr().err


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["healthy"] is True
    assert report["torch"] == torch.__version__


def test_doctor_notices_wrong_labels(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    honest = fcnrt.Segmenter.predict_labels

    def off_by_one(self: fcnrt.Segmenter, x: torch.Tensor) -> torch.Tensor:
        return torch.Tensor.__add__(honest(self, x), 1)

    monkeypatch.setattr(fcnrt.Segmenter, "predict_labels", off_by_one)
    assert doctor.AGREEMENT <= 1
    assert main(["doctor"]) == 1
    assert "WRONG" in capsys.readouterr().out


def test_help_and_version_name_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--help", "--version"):
        with pytest.raises(SystemExit) as end:
            main([option])
        assert end.value.code == 0
    printed = capsys.readouterr().out
    assert all(verb in printed for verb in ("segment", "info", "doctor"))
    assert fcnrt.__version__ in printed
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2
