"""The constants around the rectangles: taken from a small zero image, kept, and written into the buffers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from fcnrt.plan.extents import COLUMNS, ROWS
from fcnrt.plan.halo import Interval
from fcnrt.plan.schedule import Value
from fcnrt.plan.template import Stretch

Stretches: TypeAlias = "tuple[Stretch, Stretch]"
"""Of rows and of columns."""


@dataclass(frozen=True)
class Ring:
    """The four sides of a buffer's ring, ``[rows,columns,C]`` each; the first two as wide as the buffer."""

    above: Tensor
    below: Tensor
    before: Tensor
    behind: Tensor

    @property
    def sides(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.above, self.below, self.before, self.behind


def cut_frame(value: Value, template: Value, whole: Tensor, stretches: Stretches) -> Ring:
    """The ring of ``value`` before it is stretched: the rows and columns of a template's map that it is made of.

    Args:
        value: what the ring is for; that of any image with the same template will do.
        template: the same value in the template.
        whole: the template's map as it is stored there, ``[h,w,C]``.
        stretches: of rows and of columns.
    """

    def cut(axis: int, begin: int, end: int) -> Tensor:
        return whole.index_select(axis, _sources(template, stretches, axis, Interval(begin, end), whole.device))

    rows, columns = (value.stored.rows, value.computed.rows), (value.stored.columns, value.computed.columns)
    return Ring(
        above=cut(ROWS, rows[0].begin, rows[1].begin),
        below=cut(ROWS, rows[1].end, rows[0].end),
        before=cut(COLUMNS, columns[0].begin, columns[1].begin),
        behind=cut(COLUMNS, columns[1].end, columns[0].end),
    )


def stretch_frame(frame: Ring, value: Value, template: Value, stretches: Stretches) -> Ring:
    """The ring of ``value``, from its frame: along each side the template's middle is repeated."""
    device = frame.above.device
    across = _sources(template, stretches, COLUMNS, value.stored.columns, device)
    down = _sources(template, stretches, ROWS, value.computed.rows, device)
    return Ring(
        above=frame.above.index_select(COLUMNS, across),
        below=frame.below.index_select(COLUMNS, across),
        before=frame.before.index_select(ROWS, down),
        behind=frame.behind.index_select(ROWS, down),
    )


def _sources(template: Value, stretches: Stretches, axis: int, entries: Interval, device: torch.device) -> Tensor:
    """Where the template's tensor has the values of ``entries``."""
    origin = (template.stored.rows, template.stored.columns)[axis].begin
    stretch = stretches[axis]
    found = [stretch.source(entry) - origin for entry in range(entries.begin, entries.end)]
    return torch.tensor(found, dtype=torch.long, device=device)


def write_ring(buffer: Tensor, value: Value, ring: Ring | None) -> None:
    """Write the ring of ``value`` into its buffer ``[N,h,w,C]``; zeros without one."""
    sides = _sides(buffer, value)
    if ring is None:
        for target in sides:
            target.zero_()
        return
    for target, source in zip(sides, ring.sides, strict=True):
        target.copy_(source)


@dataclass(frozen=True)
class FlatRing:
    """A ring as a list of positions, which one launch writes, where ``write_ring`` takes one for each side."""

    positions: Tensor
    """``row * width + column`` in the buffer, int64 ``[k]``"""
    constants: Tensor
    """``[k,C]``"""

    def write(self, buffer: Tensor) -> None:
        """Into a buffer ``[N,h,w,C]``, contiguous."""
        positions = _widened(buffer.view(buffer.shape[0], -1, buffer.shape[3]))
        positions.index_copy_(1, self.positions, _widened(self.constants).expand(buffer.shape[0], -1, -1))


def _widened(x: Tensor) -> Tensor:
    """The same memory in 16 bytes an element, where channels allow: a copy then costs an eighth of the instructions."""
    wide = torch.complex128
    offset = x.storage_offset() * x.element_size()
    return x if x.shape[-1] * x.element_size() % wide.itemsize or offset % wide.itemsize else x.view(wide)


def flatten_ring(value: Value, ring: Ring | None, dtype: torch.dtype, device: torch.device) -> FlatRing:
    """The ring of ``value``, zeros without one, as a list of positions."""
    height, width, channels = value.stored.height, value.stored.width, value.op.channels
    numbers = torch.arange(height * width, device=device).view(1, height, width, 1)
    positions = torch.cat([side.flatten() for side in _sides(numbers, value)])
    if ring is None:
        return FlatRing(positions, torch.zeros(len(positions), channels, dtype=dtype, device=device))
    return FlatRing(positions, torch.cat([side.reshape(-1, channels) for side in ring.sides]))


def _sides(buffer: Tensor, value: Value) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The parts of a buffer ``[N,h,w,C]`` that its ring fills, in the order of ``Ring.sides``."""
    rows, columns = value.computed.within(value.stored)
    return (
        buffer[:, : rows.start],
        buffer[:, rows.stop :],
        buffer[:, rows, : columns.start],
        buffer[:, rows, columns.stop :],
    )
