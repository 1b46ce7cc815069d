"""Memory that one call computes in, kept from call to call."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor

CPU = torch.device("cpu")

KEPT_BEYOND_NEED = 4
"""An arena of over this many times what a call needs is given back: one huge image must not cost memory for ever."""


SHARE_OF_DEVICE = 64
"""A recording may take this part of a GPU's memory to have each buffer for itself; 16 are kept."""


def may_own(elements: int, itemsize: int, device: torch.device) -> bool:
    """Whether buffers of so many elements in all need not share memory."""
    total = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 1 << 34
    return elements * itemsize <= total // SHARE_OF_DEVICE


@contextmanager
def normal_tensors() -> Iterator[None]:
    """What is made here outlives the call that made it, so it must not be tied to that caller's modes."""
    cpu, cuda = torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False)
    with cpu, cuda, torch.inference_mode(False), torch.no_grad():
        yield


class Block:
    """A stretch of memory that grows to what is asked for."""

    def __init__(self, dtype: torch.dtype, device: torch.device = CPU) -> None:
        with normal_tensors():
            self._memory = torch.empty(0, dtype=dtype, device=device)

    def take(self, elements: int) -> Tensor:
        """``elements`` of it, from the first on; what was there before may be gone."""
        if not elements <= self._memory.numel() <= max(KEPT_BEYOND_NEED * elements, 1 << 16):
            with normal_tensors():
                self._memory = self._memory.new_empty(0)  # first give back, then take
                self._memory = self._memory.new_empty(elements)
        return self._memory[:elements]

    @property
    def elements(self) -> int:
        """What it holds now."""
        return self._memory.numel()


Scratch: TypeAlias = "tuple[Block, Block, Block]"
"""Memory for within a step."""


class Arena:
    """What one call needs: its buffers, and three pieces of scratch memory for within a step."""

    def __init__(self, dtype: torch.dtype, device: torch.device = CPU) -> None:
        self.buffers = Block(dtype, device)
        self.scratch: Scratch = (Block(dtype, device), Block(dtype, device), Block(dtype, device))

    @property
    def elements(self) -> int:
        """What it holds now."""
        return self.buffers.elements + sum(block.elements for block in self.scratch)


class ArenaPool:
    """One arena for each call that runs at the same time.

    Args:
        dtype: of all memory.
        device: where it lies.
        reuse: keep arenas from call to call. Otherwise each call takes its memory from torch's allocator and gives it
            back there: what a CUDA graph records then lies in the graph's own memory, where nobody else allocates and
            nothing moves while the graph lives; and calls on several streams never meet.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device = CPU, *, reuse: bool = True) -> None:
        self._dtype, self._device, self._reuse = dtype, device, reuse
        self._free: list[Arena] = []
        self._lock = threading.Lock()

    @contextmanager
    def borrow(self) -> Iterator[Arena]:
        """An arena that nobody else has, until the block ends."""
        with self._lock:
            arena = self._free.pop() if self._free else Arena(self._dtype, self._device)
        try:
            yield arena
        finally:
            if self._reuse:
                with self._lock:
                    self._free.append(arena)

    @property
    def elements(self) -> int:
        """What all arenas hold that nobody uses now."""
        with self._lock:
            return sum(arena.elements for arena in self._free)
