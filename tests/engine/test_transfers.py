"""Uploads and downloads on streams of their own, with streams that write down what they are told."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from fcnrt.engine import transfers
from fcnrt.engine.transfers import CudaTransfers, HostTransfers, transfers_for

CPU = torch.device("cpu")


class FakeStream:
    def __init__(self, name: str, cuda: Cuda) -> None:
        self.name, self._cuda = name, cuda

    def wait_stream(self, other: FakeStream) -> None:
        self._cuda.log.append(f"{self.name} waits for {other.name}")


class FakeEvent:
    def __init__(self, cuda: Cuda) -> None:
        self._cuda, self.order = cuda, -1

    def record(self, stream: FakeStream) -> None:
        self.order = len(self._cuda.log)
        self._cuda.log.append(f"mark on {stream.name}")

    def synchronize(self) -> None:
        self._cuda.log.append("the host waits")

    def elapsed_time(self, other: FakeEvent) -> int:
        return other.order - self.order


class Cuda:
    """Stands for ``torch.cuda``: names its streams in the order in which they are made."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self._names = iter(("up", "down"))
        self._current = FakeStream("compute", self)

    def Stream(self, device: torch.device) -> FakeStream:  # noqa: N802  # as torch calls it
        return FakeStream(next(self._names), self)

    def Event(self, enable_timing: bool) -> FakeEvent:  # noqa: N802
        assert enable_timing
        return FakeEvent(self)

    def current_stream(self, device: torch.device) -> FakeStream:
        return self._current

    @contextlib.contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        before, self._current = self._current, stream
        yield
        self._current = before


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    """With copies on the CPU, which are written down too; what was never copied is seen."""
    fake = Cuda()
    monkeypatch.setattr(transfers, "_pinned", lambda shape, dtype: torch.full(tuple(shape), 77, dtype=dtype))
    copy_ = torch.Tensor.copy_

    def copy(tensor: torch.Tensor, source: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
        if non_blocking:
            fake.log.append(f"copy on {fake.current_stream(CPU).name}")
        return copy_(tensor, source)

    monkeypatch.setattr(torch.Tensor, "copy_", copy)
    return fake


def test_a_batch_goes_up_and_its_labels_come_down(cuda: Cuda) -> None:
    moving = CudaTransfers(CPU, cuda)
    arrays = [np.full((2, 3, 3), value, dtype=np.uint8) for value in (1, 2)]
    staged = moving.stage(arrays)
    assert cuda.log == []  # nothing of this is the device's
    uploaded = moving.upload(staged)
    begin = moving.mark()
    labels = uploaded[..., 0] + 5
    download = moving.download([labels, labels.half()])
    first, second = download.wait()
    assert cuda.log == [
        "compute waits for up",
        "mark on compute",
        "down waits for compute",
        "copy on down",
        "copy on down",
        "mark on down",
        "the host waits",
    ]
    assert [(str(array.dtype), array.shape) for array in (first[0], second[1])] == [
        ("uint8", (2, 3)),
        ("float16", (2, 3)),
    ]
    assert [int(array[0, 0]) for array in first] == [6, 7]
    assert moving.milliseconds(begin, download.arrived) == 4


def test_results_hold_no_pinned_memory(cuda: Cuda) -> None:
    moving = CudaTransfers(CPU, cuda)
    download: Any = moving.download([torch.ones(2, 3, dtype=torch.uint8)])
    ((found, _),) = download.wait()
    download.copies[0].zero_()
    assert (found == 1).all()


def test_a_cpu_copies_nothing() -> None:
    moving = transfers_for(CPU)
    assert isinstance(moving, HostTransfers)
    array = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    uploaded = moving.upload(moving.stage([array]))
    ((found,),) = moving.download([uploaded]).wait()
    assert np.shares_memory(found, array)
    assert (moving.stage([array, array]).numpy() == array).all()
    begin = moving.mark()
    assert moving.milliseconds(begin, moving.mark()) >= 0
