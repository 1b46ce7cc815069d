"""The table of a plan: every op once, sums that agree with the schedule's, whoever computes."""

from __future__ import annotations

import pytest
import torch

from fcnrt.engine.cpu import plan_on_cpu
from fcnrt.engine.gpu import plan_on_gpu
from fcnrt.models import create_model
from fcnrt.models.batchnorm import fold_batchnorm
from fcnrt.plan.explain import Row, as_lines, explain_schedule
from fcnrt.plan.schedule import Schedule


def explained(arch: str, device: str, height: int = 33, width: int = 47) -> tuple[Schedule, list[Row]]:
    net = create_model(arch, 3, width=1 / 16).eval().requires_grad_(False)
    fold_batchnorm(net)
    planned = (plan_on_cpu if device == "cpu" else plan_on_gpu)(net, torch.float32)
    schedule = planned.prepare(height, width).schedule
    return schedule, explain_schedule(schedule, planned.explain, 4)


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("arch", ["fcn8s", "fcn-alexnet", "fcn-resnet18"])
def test_rows(arch: str, device: str) -> None:
    schedule, rows = explained(arch, device)
    assert [row.op for row in rows] == [op.name for group in schedule.groups for op in group]
    assert sum(row.flops for row in rows) == 2 * schedule.multiplications
    assert sum(row.flops_without_halo for row in rows) == 2 * schedule.multiplications_without_halo
    assert all(row.reason and row.choice for row in rows)
    unread = schedule.elements["image"] if rows[0].choice == "none" else 0
    assert sum(row.bytes for row in rows) == 4 * (sum(schedule.elements.values()) - unread)


def test_lines_of_a_gpu() -> None:
    schedule, rows = explained("fcn8s", "gpu")
    lines = as_lines(schedule, rows, 4)
    by_op = {line.split()[1]: line for line in lines[1 : len(rows) + 1]}
    assert "the first convolution reads the images as they are" in by_op["image"]
    assert "Triton conv_first" in by_op["conv1_1"]
    assert "in its convolution's pass" in by_op["conv1_2.pool"]
    assert " 37x51 " in by_op["conv1_2"] or " 38x52 " in by_op["conv1_2"]
    assert f"the halo skips {1 - schedule.multiplications / schedule.multiplications_without_halo:.1%}" in lines[-2]
    assert lines[-3] == "image          33x47"
