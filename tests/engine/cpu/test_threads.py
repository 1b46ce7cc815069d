"""Many threads, one model: each gets what it would have got alone, or its own error."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fcnrt.engine.fused import FusedFCN
from fcnrt.errors import InputError
from fcnrt.models import create_model

THREADS = 4
SIZES = [(1, 1), (33, 47), (64, 40), (97, 131), (50, 200), (120, 31), (7, 90), (65, 65), (128, 96), (31, 33)]
"""More than the schedules that are kept, so that some are made anew while others run."""


@pytest.fixture(scope="module")
def net() -> FusedFCN:
    torch.manual_seed(0)
    net = create_model("fcn8s", 5, width=1 / 8).eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return FusedFCN(net, torch.float32)


def run_together(jobs: list[Any]) -> list[Any]:
    """Each of ``jobs`` in a thread of its own, all at the same moment."""
    start = threading.Barrier(len(jobs))

    def run(job: Any) -> Any:
        start.wait()
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return [future.exception() or future.result() for future in [pool.submit(run, job) for job in jobs]]


def test_the_same_bits_as_alone(net: FusedFCN) -> None:
    assert net.planned is not None
    inputs = [torch.randn(1 + index % 2, 3, *size) * 50 for index, size in enumerate(SIZES)]
    alone = [(net(x), net.predict_labels(x)) for x in inputs]

    def job(first: int) -> list[tuple[int, Tensor, Tensor]]:
        torch.set_num_threads(1)  # a new thread starts with torch's default, and the number changes the last bits
        order = [(first + step) % len(inputs) for step in range(len(inputs))] * 2
        return [(index, net(inputs[index]), net.predict_labels(inputs[index])) for index in order]

    for results in run_together([lambda first=first: job(first) for first in range(THREADS)]):
        assert not isinstance(results, BaseException), results
        for index, logits, labels in results:
            assert torch.equal(logits, alone[index][0]), SIZES[index]
            assert torch.equal(labels, alone[index][1]), SIZES[index]


def test_a_result_is_its_callers_own(net: FusedFCN) -> None:
    x = torch.randn(1, 3, 40, 50) * 50
    logits, labels = net(x), net.predict_labels(x)
    kept = logits.clone(), labels.clone()
    net(torch.randn(2, 3, 60, 70) * 50)
    net(x * 2)
    assert torch.equal(logits, kept[0])
    assert torch.equal(labels, kept[1])


def test_an_error_stays_with_its_caller(net: FusedFCN, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = torch.randn(1, 3, 45, 61) * 50, torch.randn(1, 3, 46, 61) * 50
    expected = net(good)
    honest = net.planned.prepare  # type: ignore[union-attr]

    def prepare(height: int, width: int) -> Any:
        if height == bad.shape[2]:
            raise InputError("not this size")
        return honest(height, width)

    monkeypatch.setattr(net.planned, "prepare", prepare)
    found = run_together([lambda x=x: net(x) for x in (good, bad, good, bad)])
    assert [isinstance(result, InputError) for result in found] == [False, True, False, True]
    assert torch.equal(found[0], expected)
    assert torch.equal(found[2], expected)


def test_an_error_in_the_middle_gives_its_memory_back(net: FusedFCN) -> None:
    """A trunk that fails half-way must not leave its buffers borrowed, nor in the way of the next call."""
    x = torch.randn(1, 3, 45, 61) * 50
    expected = net(x)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            net(torch.randn(1, 4, 45, 61))
    assert torch.equal(net(x), expected)
