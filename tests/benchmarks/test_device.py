"""The command for a GPU machine, as far as it runs without one."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import device
from benchmarks.device import STAGES, Stage, main, parity_summary
from benchmarks.environment import ROOT

JUNIT = """<?xml version="1.0"?><testsuites><testsuite>
<testcase name="test_a[float32]"><properties>
  <property name="relative_error" value="1e-07"/><property name="label_agreement" value="1.0"/>
</properties></testcase>
<testcase name="test_a[bfloat16]"><properties>
  <property name="relative_error" value="0.004"/><property name="label_agreement" value="0.9985"/>
</properties><failure message="GateError: 99.850% of the labels&#10;and more">...</failure></testcase>
<testcase name="test_b"><skipped message="none here"/></testcase>
</testsuite></testsuites>"""


def test_no_gpu_is_said_clearly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([]) == 2
    assert "finds no CUDA device here" in capsys.readouterr().err


def test_unknown_stages_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["kernels"])
    assert "unknown stage kernels; expected parity_ops" in capsys.readouterr().err


def test_stages_are_short_and_have_files() -> None:
    assert all(stage.minutes < 8 for stage in STAGES)
    assert len({stage.name for stage in STAGES}) == len(STAGES)
    assert all((ROOT / stage.arguments[0]).is_file() for stage in STAGES if stage.module is None)
    modules = [stage.module for stage in STAGES if stage.module is not None]
    assert all(importlib.util.find_spec(module) for module in modules)


def test_stages_with_a_result_are_not_run_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run: list[str] = []

    def fake(stage: Stage, folder: Path, machine: str) -> bool:
        run.append(stage.name)
        return stage.name != "network"

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device, "environment", lambda: {"machine": "some-gpu"})
    monkeypatch.setattr(device, "run_stage", fake)
    (tmp_path / "some-gpu").mkdir()
    (tmp_path / "some-gpu" / "kernel.json").write_text("{}", encoding="utf-8")
    assert main(["--out", str(tmp_path), "kernel", "network", "decoder"]) == 1
    assert run == ["decoder", "network"]
    captured = capsys.readouterr()
    assert "kernel: has a result already" in captured.out
    assert "failed: network" in captured.err


def test_parity_is_summed_up() -> None:
    summary = parity_summary(JUNIT)
    assert summary["passed"] == 1
    assert summary["failed"] == [{"test": "test_a[bfloat16]", "message": "GateError: 99.850% of the labels"}]
    assert summary["worst"] == {"relative_error": 0.004, "label_agreement": 0.9985}
    assert len(summary["tests"]) == 2


def test_a_stage_is_ended_when_its_time_is_up(capfd: pytest.CaptureFixture[str]) -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert device._run(sleeper, 0.5) == 124
    assert "not finished after" in capfd.readouterr().err
    assert device._run([sys.executable, "-c", "raise SystemExit(3)"], 30) == 3
