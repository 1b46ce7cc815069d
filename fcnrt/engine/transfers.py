"""Images up to the device and labels down from it, beside what it computes meanwhile."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[Any]


class Download(Protocol):
    """Tensors on their way to the host."""

    @property
    def arrived(self) -> Any:
        """The mark at which they are there."""

    def wait(self) -> list[list[Array]]:
        """Of each tensor ``[N,...]`` N arrays in the host's memory, once they are there."""


class Transfers(Protocol):
    """Between the host and a device. Marks are moments on the device, in the order of its work."""

    def stage(self, arrays: Sequence[Array]) -> Tensor:
        """Arrays of one shape and type as one tensor ``[N,...]`` on the host, from where it can be uploaded."""

    def upload(self, staged: Tensor) -> Tensor:
        """``staged`` on the device, for whatever the caller's stream computes next.

        The caller holds it until what was computed from it has been waited for.
        """

    def download(self, tensors: Sequence[Tensor]) -> Download:
        """Bring down ``tensors`` as soon as the caller's stream has computed them."""

    def mark(self) -> Any:
        """When the caller's stream gets here."""

    def milliseconds(self, begin: Any, end: Any) -> float:
        """From one mark to another, of work that has been waited for."""


@dataclass(frozen=True)
class _Arrived:
    arrays: list[list[Array]]
    arrived: float

    def wait(self) -> list[list[Array]]:
        return self.arrays


class HostTransfers:
    """Of the CPU, which needs none."""

    def stage(self, arrays: Sequence[Array]) -> Tensor:
        return torch.from_numpy(arrays[0])[None] if len(arrays) == 1 else torch.from_numpy(np.stack(arrays))

    def upload(self, staged: Tensor) -> Tensor:
        return staged

    def download(self, tensors: Sequence[Tensor]) -> Download:
        return _Arrived([list(tensor.numpy()) for tensor in tensors], self.mark())

    def mark(self) -> float:
        return time.perf_counter()

    def milliseconds(self, begin: float, end: float) -> float:
        return (end - begin) * 1e3


@dataclass(frozen=True)
class _UnderWay:
    copies: list[Tensor]
    sources: Sequence[Tensor]
    """held until they have been copied"""
    arrived: Any

    def wait(self) -> list[list[Array]]:
        self.arrived.synchronize()
        # Pinned memory is scarce, and results may be kept, each by itself.
        return [[array.copy() for array in copy.numpy()] for copy in self.copies]


class CudaTransfers:
    """Of a GPU: through pinned memory, on a stream up and a stream down, so that neither waits for the other.

    Args:
        device: the GPU.
        cuda: ``torch.cuda``; exchangeable for tests without a GPU.
    """

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        self._device, self._cuda = device, cuda
        self._up, self._down = cuda.Stream(device=device), cuda.Stream(device=device)

    def stage(self, arrays: Sequence[Array]) -> Tensor:
        first = torch.from_numpy(arrays[0])
        staged = _pinned((len(arrays), *first.shape), first.dtype)
        for slot, array in zip(staged, arrays, strict=True):
            slot.copy_(torch.from_numpy(array))
        return staged

    def upload(self, staged: Tensor) -> Tensor:
        with self._cuda.stream(self._up):
            uploaded = staged.to(self._device, non_blocking=True)
        self._cuda.current_stream(self._device).wait_stream(self._up)
        return uploaded

    def download(self, tensors: Sequence[Tensor]) -> Download:
        copies = [_pinned(tensor.shape, tensor.dtype) for tensor in tensors]
        self._down.wait_stream(self._cuda.current_stream(self._device))
        with self._cuda.stream(self._down):
            for copy, tensor in zip(copies, tensors, strict=True):
                copy.copy_(tensor, non_blocking=True)
            arrived = self._mark_on(self._down)
        return _UnderWay(copies, tensors, arrived)

    def mark(self) -> Any:
        return self._mark_on(self._cuda.current_stream(self._device))

    def milliseconds(self, begin: Any, end: Any) -> float:
        return float(begin.elapsed_time(end))

    def _mark_on(self, stream: Any) -> Any:
        event = self._cuda.Event(enable_timing=True)
        event.record(stream)
        return event


def transfers_for(device: torch.device) -> Transfers:
    """What moves data to ``device`` and back."""
    return CudaTransfers(device) if device.type == "cuda" else HostTransfers()


def _pinned(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty(tuple(shape), dtype=dtype, device="cpu", pin_memory=True)
