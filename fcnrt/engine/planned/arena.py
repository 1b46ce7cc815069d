"""Memory that one call computes in, kept from call to call."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor

KEPT_BEYOND_NEED = 4
"""An arena of over this many times what a call needs is given back: one huge image must not cost memory for ever."""


@contextmanager
def normal_tensors() -> Iterator[None]:
    """What is made here outlives the call that made it, so it must not be tied to that caller's inference mode."""
    with torch.inference_mode(False), torch.no_grad():
        yield


class Block:
    """A stretch of memory that grows to what is asked for."""

    def __init__(self, dtype: torch.dtype) -> None:
        with normal_tensors():
            self._memory = torch.empty(0, dtype=dtype)

    def take(self, elements: int) -> Tensor:
        """``elements`` of it, from the first on; what was there before may be gone."""
        if not elements <= self._memory.numel() <= max(KEPT_BEYOND_NEED * elements, 1 << 16):
            with normal_tensors():
                self._memory = torch.empty(0, dtype=self._memory.dtype)  # first give back, then take
                self._memory = torch.empty(elements, dtype=self._memory.dtype)
        return self._memory[:elements]

    @property
    def elements(self) -> int:
        """What it holds now."""
        return self._memory.numel()


Scratch: TypeAlias = "tuple[Block, Block, Block]"
"""Memory for within a step."""


class Arena:
    """What one call needs: its buffers, and three pieces of scratch memory for within a step."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.buffers = Block(dtype)
        self.scratch: Scratch = (Block(dtype), Block(dtype), Block(dtype))

    @property
    def elements(self) -> int:
        """What it holds now."""
        return self.buffers.elements + sum(block.elements for block in self.scratch)


class ArenaPool:
    """One arena for each call that runs at the same time."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._free: list[Arena] = []
        self._lock = threading.Lock()

    @contextmanager
    def borrow(self) -> Iterator[Arena]:
        """An arena that nobody else has, until the block ends."""
        with self._lock:
            arena = self._free.pop() if self._free else Arena(self._dtype)
        try:
            yield arena
        finally:
            with self._lock:
                self._free.append(arena)

    @property
    def elements(self) -> int:
        """What all arenas hold that nobody uses now."""
        with self._lock:
            return sum(arena.elements for arena in self._free)
