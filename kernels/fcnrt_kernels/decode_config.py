"""How the one-launch decoder cuts the labels into tiles, and what each tile needs of the levels below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fcnrt_kernels.config import LANE_MULTIPLE, next_power_of_two

MAX_PROGRAMS = 1024
"""Programs of one launch, each with a scratch of its own; more tiles than that take turns."""

FILLED = 120
"""Tiles that keep a large GPU busy: nine in ten multiprocessors of an H100 or H200."""

_CELLS = ((8, 8), (8, 4), (4, 4))


@dataclass(frozen=True)
class DecodeTile:
    """``cells_y`` by ``cells_x`` cells of pixels, a cell being what lies between the same coarse scores.

    ``rows`` and ``columns`` are the positions of each refined level that a tile needs, coarsest level first;
    ``blocks`` how many of them one matrix product takes.
    """

    cells_y: int
    cells_x: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    blocks: tuple[int, ...]
    block_c: int
    block_k: int
    block_q: int
    """pixels of a cell at a time"""
    num_warps: int
    num_stages: int

    @property
    def scratch(self) -> int:
        """Positions of all refined levels: floats of scratch a program needs for each class."""
        return sum(rows * columns for rows, columns in zip(self.rows, self.columns, strict=True))


def select_decode_tile(
    num_classes: int,
    channels: int,
    itemsize: int,
    batch: int,
    cells: Sequence[int],
    kernels: Sequence[int],
    strides: Sequence[int],
    dense: Sequence[bool],
) -> DecodeTile:
    """The largest tile that still fills a GPU: the larger, the fewer scores are computed more than once.

    Args:
        num_classes, batch: of the scores.
        channels, itemsize: the most channels of a skip, and bytes of one of its entries.
        cells: rows and columns of cells that the window of labels touches.
        kernels, strides, dense: of each upsampling, coarsest first, and whether its taps mix the classes.
    """
    shapes = _CELLS[1:] if any(dense) else _CELLS  # products in full float32 fill the registers
    tiles = [batch * -(-cells[0] // y) * -(-cells[1] // x) for y, x in shapes]
    cells_y, cells_x = next((shape for shape, n in zip(shapes, tiles, strict=True) if n >= FILLED), shapes[-1])
    rows, columns = (_entries(n, kernels, strides) for n in (cells_y, cells_x))
    blocks = []
    for height, width, stride, mixed in zip(rows, columns, strides, dense, strict=False):
        if mixed:  # one product a phase
            height, width = (1 + (n + stride - 2) // stride for n in (height, width))
        blocks.append(min(32 if mixed else 64, max(LANE_MULTIPLE, next_power_of_two(height * width))))
    return DecodeTile(
        cells_y=cells_y,
        cells_x=cells_x,
        rows=rows,
        columns=columns,
        blocks=tuple(blocks),
        block_c=min(32 if any(dense) else 64, max(LANE_MULTIPLE, next_power_of_two(num_classes))),
        block_k=16 if any(dense) else min(128 // itemsize, max(LANE_MULTIPLE, next_power_of_two(channels))),
        block_q=min(64, next_power_of_two(strides[-1] ** 2)),
        num_warps=8,
        num_stages=3,
    )


def _entries(cells: int, kernels: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    """Positions of each refined level that ``cells`` cells in a row need, coarsest level first."""
    needed = [cells - 1 + -(-kernels[-1] // strides[-1])]
    for kernel, stride in zip(kernels[-2:0:-1], strides[-2:0:-1], strict=True):
        # However they lie, so many coarse entries reach any `needed` upsampled ones in a row.
        needed.insert(0, (needed[0] + stride - 2) // stride + -(-kernel // stride))
    return tuple(needed)
