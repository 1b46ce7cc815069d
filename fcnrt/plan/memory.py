"""Where each buffer lies: those whose lifetimes do not overlap share memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ALIGNMENT = 64
"""Elements between possible beginnings: cache lines of the widest type, and more than any vector."""


@dataclass(frozen=True)
class Lifetime:
    """A buffer of ``elements`` that is written at step ``born`` and read for the last time at step ``dies``."""

    elements: int
    born: int
    dies: int

    def meets(self, other: Lifetime) -> bool:
        """Whether both are in memory at some step."""
        return self.born <= other.dies and other.born <= self.dies


@dataclass(frozen=True)
class MemoryMap:
    """The first element of each buffer in an arena of ``elements``."""

    offsets: Mapping[str, int]
    elements: int


def place(buffers: Mapping[str, Lifetime]) -> MemoryMap:
    """The largest first, each at the lowest place where it meets nobody."""
    offsets: dict[str, int] = {}
    for name in sorted(buffers, key=lambda name: (-buffers[name].elements, buffers[name].born)):
        taken = sorted(
            (offsets[other], _end(offsets[other], buffers[other]))
            for other in offsets
            if buffers[name].meets(buffers[other])
        )
        at = 0
        for begin, end in taken:
            if at + buffers[name].elements <= begin:
                break
            at = max(at, end)
        offsets[name] = at
    return MemoryMap(offsets, max((_end(at, buffers[name]) for name, at in offsets.items()), default=0))


def _end(offset: int, buffer: Lifetime) -> int:
    return offset + -(-buffer.elements // ALIGNMENT) * ALIGNMENT
