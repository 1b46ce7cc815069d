"""``fcnrt info --plan``: the steps of a net at one size, to people and to programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fcnrt.cli import main
from fcnrt.models import create_model

HERE = ["--device", "cpu", "--dtype", "float32"]


def test_lines(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(checkpoint), "--plan", "--size", "33x47", *HERE]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("device         cpu, float32: ") for line in lines)
    assert "image          33x47" in lines
    assert any(line.split()[:3] == ["14", "fc6", "Convolution"] for line in lines)
    assert lines[-1].startswith("decoder        out: several launches")
    assert any("the halo skips" in line for line in lines)


def test_json(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(checkpoint), "--plan", "--json", "--size", "33x47", *HERE]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    steps = {step["op"]: step for step in plan["steps"]}
    assert steps["conv1_1"]["whole"] == [231, 245]
    assert 0.9 < steps["conv1_1"]["skipped"] < 1
    assert plan["activation_bytes"] > 0
    assert plan["decoders"]["out"]["launches"] == "several"
    assert main(["info", str(checkpoint), "--json"]) == 0
    assert "plan" not in json.loads(capsys.readouterr().out)


def test_a_net_without_a_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = create_model("pochih-fcn8s", 5, width=1 / 64)
    torch.save(net.state_dict(), tmp_path / "net.pt")
    code = main(["info", str(tmp_path / "net.pt"), "--arch", "pochih-fcn8s", "--plan", *HERE])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert "trunk          module by module" in captured.out
