"""``fcnrt tune`` where there is no GPU, and the problems that it would measure."""

from __future__ import annotations

import pytest
import torch

from fcnrt.cli import main
from fcnrt.engine.gpu import tuning_problems
from fcnrt.engine.gpu.steps import GPUSteps
from fcnrt.engine.planned import PlannedTrunk
from fcnrt.models import create_model


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--size", "100x100"]) == 4
    assert "tiles are measured on a CUDA GPU" in capsys.readouterr().err


def test_wrong_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--batch", "0"]) == 2
    assert "--batch is 0; expected 1 or more" in capsys.readouterr().err


def test_problems_of_fcn8s(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every convolution behind the first, at the rectangle that the halo leaves; packing alone needs no GPU."""
    monkeypatch.setattr("fcnrt.engine.gpu.steps.find_obstacle", lambda x: None)
    monkeypatch.setattr(PlannedTrunk, "prepare", _schedule_alone)
    net = create_model("fcn8s", width=1 / 8).eval()
    planned = PlannedTrunk(net, torch.float16, GPUSteps(net, torch.float16), chain=False, recordable=True)
    problems = tuning_problems(planned, (500, 500), 16)
    assert len(problems) == 14
    first, last = problems[0], problems[-1]
    assert (first.batch, first.rows, first.columns, first.kernel, first.pool) == (16, 506, 506, (3, 3), True)
    assert (last.rows, last.columns, last.kernel, last.pool) == (16, 16, (1, 1), False)


def _schedule_alone(planned: PlannedTrunk, height: int, width: int) -> object:
    class Prepared:
        schedule = planned._schedule(height, width, halo=True)

    return Prepared
