"""What is drawn is what was measured, and says so where nothing was."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import plots
from benchmarks.contenders import Contender
from benchmarks.test_ablation import STEPS, STEPS_ON_GPU
from benchmarks.test_sweep import POINTS, SWEPT

needs_matplotlib = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs matplotlib")


def _result(rows: list[tuple[str, float, dict[str, Any]]]) -> dict[str, Any]:
    cpu = {"model": "Some CPU", "cores": 2, "capability": "AVX2"}
    return {
        "environment": {"cpu": cpu, "gpu": None, "threads": 2, "software": {"torch": "2.13.0"}},
        "benchmarks": [
            {
                "group": "a net, 64x64, batch 1: labels",
                "contender": name,
                "median_seconds": seconds,
                "extra_info": facts,
            }
            for name, seconds, facts in rows
        ],
    }


def test_every_contender_has_its_line() -> None:
    assert {step.title for step in (*STEPS, *STEPS_ON_GPU)} | {"fcnrt bfloat16"} == set(plots.STEPS)
    assert {contender.title for contender in SWEPT} <= set(plots.LINES)
    assert Contender("fcnrt", without=("halo",)).title in plots.LINES


def test_points_of_a_sweep_are_in_order() -> None:
    rows = [("eager float32", 1.0, {"height": side, "width": side, "batch": batch}) for side, batch in POINTS[::-1]]
    points = plots.sweep_points(_result(rows))["eager float32"]
    assert [(point.side, point.batch) for point in points] == list(POINTS)


@needs_matplotlib
def test_both_are_drawn_in_the_same_bytes_each_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "results" / "some-cpu"
    folder.mkdir(parents=True)
    swept = [
        (contender.title, side**2 * batch / (2 + order), {"height": side, "width": side, "batch": batch})
        for side, batch in POINTS
        for order, contender in enumerate(SWEPT)
    ]
    steps: list[tuple[str, float, dict[str, Any]]] = [(step.title, 1 / (1 + i), {}) for i, step in enumerate(STEPS)]
    (folder / "sweep.json").write_text(json.dumps(_result(swept)), encoding="utf-8")
    (folder / "ablation.json").write_text(json.dumps(_result(steps)), encoding="utf-8")
    drawn = []
    for name in ("one", "two"):
        out = tmp_path / name
        assert plots.main(["--results", str(tmp_path / "results"), "--out", str(out)]) == 0
        drawn.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert set(drawn[0]) == {"sweep-some-cpu.png", "ablation-some-cpu.png"}
    assert drawn[0] == drawn[1]
    assert "ablation-some-cpu.png" in capsys.readouterr().out


@needs_matplotlib
def test_nothing_to_draw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plots.main(["--results", str(tmp_path)]) == 2
    assert "no sweep.json or ablation.json" in capsys.readouterr().err


def test_nothing_to_draw_with(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert plots.main([]) == 2
    assert "pip install 'fcnrt[bench]'" in capsys.readouterr().err
