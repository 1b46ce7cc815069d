"""What a schedule says, in words and numbers: who computes each op and why, and what the halo saves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from fcnrt.plan.graph import Op
from fcnrt.plan.grouping import Group
from fcnrt.plan.schedule import Area, Schedule, Value, multiplications

Explain: TypeAlias = "Callable[[Op, Group, Mapping[str, Value]], tuple[str, str]]"
"""What computes an op as part of a step, and why."""


@dataclass(frozen=True)
class Row:
    """One op, for one image."""

    step: int
    """ops of one step run together"""
    op: str
    kind: str
    channels: int
    computed: tuple[int, int]
    """rows and columns that are computed for each image"""
    whole: tuple[int, int]
    """of the whole map"""
    bytes: int
    """that the map takes with its ring; 0 if it is never whole in memory"""
    flops: int
    """multiplications and additions of a convolution"""
    flops_without_halo: int
    choice: str
    reason: str

    @property
    def skipped(self) -> float:
        """Share of the whole map that is not computed."""
        whole = self.whole[0] * self.whole[1]
        return 1 - self.computed[0] * self.computed[1] / whole if whole else 0.0


def explain_schedule(schedule: Schedule, explain: Explain, itemsize: int) -> list[Row]:
    """One row for each op, step by step.

    Args:
        schedule: the plan of one image size.
        explain: says what computes an op.
        itemsize: bytes of an activation.
    """
    rows = []
    for step, group in enumerate(schedule.groups, start=1):
        for op in group:
            value = schedule.values[op.name]
            choice, reason = explain(op, group, schedule.values)
            kept = op is group[-1] and choice != NOT_KEPT
            rows.append(
                Row(
                    step=step,
                    op=op.name,
                    kind=type(op).__name__,
                    channels=op.channels,
                    computed=_size(value.computed),
                    whole=_size(value.whole),
                    bytes=schedule.elements[op.name] * itemsize if kept else 0,
                    flops=2 * multiplications(op, value.computed),
                    flops_without_halo=2 * multiplications(op, value.whole),
                    choice=choice,
                    reason=reason,
                )
            )
    return rows


NOT_KEPT = "none"
"""The choice for a value that nobody computes: its readers do without it."""


def as_lines(schedule: Schedule, rows: Sequence[Row], itemsize: int) -> list[str]:
    """The rows as a table, and their totals."""
    table = [("step", "op", "kind", "computed", "of", "channels", "MB", "GFLOP", "skipped", "by", "because")]
    for row in rows:
        table.append(
            (
                str(row.step),
                row.op,
                row.kind,
                "{}x{}".format(*row.computed),
                "{}x{}".format(*row.whole),
                str(row.channels),
                f"{row.bytes / 1e6:.2f}" if row.bytes else "-",
                f"{row.flops / 1e9:.3f}" if row.flops else "-",
                f"{row.skipped:.0%}",
                row.choice,
                row.reason,
            )
        )
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    flops, whole = 2 * schedule.multiplications, 2 * schedule.multiplications_without_halo
    saved = 1 - flops / whole if whole else 0.0
    apart = sum(row.bytes for row in rows)
    return [
        *lines,
        f"image          {schedule.height}x{schedule.width}",
        f"convolutions   {flops / 1e9:.2f} GFLOP for each image, of {whole / 1e9:.2f}; the halo skips {saved:.1%}",
        f"activations    {schedule.memory.elements * itemsize / 1e6:.1f} MB for each image; "
        f"{apart / 1e6:.1f} MB if no step shared memory",
    ]


def _size(area: Area) -> tuple[int, int]:
    return area.height, area.width
