"""How far each value of a graph reaches on one axis, at one image size: there, for the image, and in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fcnrt.plan.graph import Graph, Image, Op, sources, windows
from fcnrt.plan.halo import EMPTY, Interval

ROWS, COLUMNS = 0, 1

EVERYWHERE = Interval(-(1 << 40), 1 << 40)
"""Zeros around zeros: there is no end to the zero image."""


@dataclass(frozen=True)
class Extent:
    """One value on one axis. Entry 0 is the first of the whole map; the image's map counts its zeros."""

    length: int
    """entries of the whole map"""
    computed: Interval
    """the entries that are computed for each image"""
    stored: Interval
    """the entries that are kept for the readers: ``computed``, constants, and zeros beyond the map's ends"""
    uniform: Interval
    """the entries that are alike in the zero image"""

    @property
    def has_constants(self) -> bool:
        """Whether some stored entry is neither computed nor a zero beyond the map's end."""
        return self.stored.cut(Interval(0, self.length)) not in self.computed


def lengths(graph: Graph, axis: int, size: int) -> dict[str, int]:
    """Entries of each value's whole map, for an image of ``size`` pixels."""
    made: dict[str, int] = {}
    for op in graph:
        if isinstance(op, Image):
            made[op.name] = size + 2 * op.padding[axis]
        else:
            made[op.name] = windows(op)[axis].length(made[sources(op)[0]])
    return made


def extents(
    graph: Graph,
    groups: Sequence[Sequence[Op]],
    axis: int,
    size: int,
    demands: Mapping[str, Interval],
    *,
    halo: bool = True,
) -> dict[str, Extent]:
    """Every value's extent.

    Args:
        graph: what is computed.
        groups: its ops, those together that run as one; only the last of a group is kept in memory.
        axis: ``ROWS`` or ``COLUMNS``.
        size: of the image.
        demands: what the decoders read of the graph's outputs, by value.
        halo: compute only what depends on the image; otherwise all that is read.
    """
    whole = lengths(graph, axis, size)
    depending, uniform = _forward(graph, axis, size, whole)
    needed = dict(demands)
    found: dict[str, Extent] = {}
    for group in reversed(groups):
        reads = EMPTY
        for op in reversed(group):
            last = op is group[-1]
            stored = needed.get(op.name, EMPTY) if last else reads
            inside = Interval(0, whole[op.name])
            computed = stored.cut(inside)
            if isinstance(op, Image):
                computed = depending[op.name]  # read or not: it is there
            elif last and halo:
                computed = computed.cut(depending[op.name])
            found[op.name] = Extent(whole[op.name], computed, stored.hull(computed), uniform[op.name])
            reads = windows(op)[axis].reading(computed)
            for source in sources(op):
                needed[source] = needed.get(source, EMPTY).hull(reads)
    return found


def _forward(
    graph: Graph, axis: int, size: int, whole: Mapping[str, int]
) -> tuple[dict[str, Interval], dict[str, Interval]]:
    """What depends on the image, and what is alike without one."""
    depending: dict[str, Interval] = {}
    uniform: dict[str, Interval] = {}
    for op in graph:
        if isinstance(op, Image):
            begin = op.padding[axis]
            depending[op.name] = Interval(begin, begin + size)
            uniform[op.name] = EVERYWHERE
            continue
        window, length = windows(op)[axis], whole[op.name]
        depends, alike = EMPTY, EVERYWHERE
        for source in sources(op):
            depends = depends.hull(window.depending(depending[source], length))
            alike = alike.cut(uniform[source])
        depending[op.name], uniform[op.name] = depends, window.made_of(alike, length)
    return depending, uniform
