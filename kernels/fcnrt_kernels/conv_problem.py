"""What is to be convolved, on what, and in which tiles, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fcnrt_kernels.launch import cdiv

Variant = Literal["descriptor", "pointer"]

ITEM_SIZES: Mapping[str, int] = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class Target:
    """The GPU that a kernel is for."""

    capability: int
    """90 is sm_90"""
    multiprocessors: int
    name: str
    """as torch calls it; names the table of measurements"""


@dataclass(frozen=True)
class ConvProblem:
    """One convolution of stride 1, as far as its speed depends on it."""

    batch: int
    rows: int
    """of the convolution, before the pool"""
    columns: int
    channels: int
    out_channels: int
    kernel: tuple[int, int]
    dtype: str
    """``float32``, ``float16`` or ``bfloat16``"""
    pool: bool = False
    alignment: int = 16
    """bytes, at most 16, of which addresses and pixel strides are all multiples"""
    exact: bool = False
    """float32 products in full precision, which no tensor core forms"""

    @property
    def itemsize(self) -> int:
        return ITEM_SIZES[self.dtype]

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        taps = self.kernel[0] * self.kernel[1]
        return 2 * self.batch * self.rows * self.columns * self.channels * self.out_channels * taps

    @property
    def bytes(self) -> int:
        """Of activations and weights, each read or written once."""
        taps = self.kernel[0] * self.kernel[1]
        read = self.batch * (self.rows + self.kernel[0] - 1) * (self.columns + self.kernel[1] - 1) * self.channels
        shrink = 2 if self.pool else 1
        written = self.batch * -(-self.rows // shrink) * -(-self.columns // shrink) * self.out_channels
        return self.itemsize * (read + written + taps * self.channels * self.out_channels)


@dataclass(frozen=True)
class ConvConfig:
    """A tile of ``block_m`` output channels by ``block_y`` x ``block_x`` positions, and how it is worked off."""

    variant: Variant
    block_m: int
    block_y: int
    block_x: int
    block_k: int
    """channels of the sum at a time"""
    num_warps: int
    num_stages: int
    splits: int = 1
    """parts of the sum, added up by a second kernel"""
    programs: int = 1
    """on one multiprocessor at a time"""

    @property
    def block_n(self) -> int:
        return self.block_y * self.block_x

    def parts(self, problem: ConvProblem, capability: int) -> int:
        """In which a tile's results leave through shared memory; those of a pool are few enough for one.

        On sm_100 sums come from tensor memory, and the positions of a channel lie in several threads.
        """
        if capability != 90 or self.variant != "descriptor" or (problem.pool and self.splits == 1):
            return 1
        if self.num_warps // 4 > self.block_m // 64:
            return 1  # groups of warps share the positions: a half belongs to one group
        return min(4 if self.splits > 1 else 2, max(1, self.block_n // 64))

    @property
    def registers(self) -> int:
        """That a thread may have. Left to itself ptxas spills some, to fit more programs than run side by side."""
        return min(255, 65536 // (32 * self.num_warps * self.programs))

    def __str__(self) -> str:
        split = f", {self.splits} splits" if self.splits > 1 else ""
        beside = f", {self.programs} a multiprocessor" if self.programs > 1 else ""
        return (
            f"{self.variant} {self.block_m}x({self.block_y}x{self.block_x})x{self.block_k}, "
            f"{self.num_warps} warps, {self.num_stages} stages{split}{beside}"
        )


@dataclass(frozen=True)
class Tiling:
    """What a configuration makes of a problem."""

    tiles_m: int
    tiles_y: int
    tiles_x: int
    tiles_n: int
    """over all images"""
    steps: int
    """of the sum, in one split"""
    work: int
    """pieces, each for one program"""
    waves: int
    """rounds in which a GPU works them off"""
    positions_first: bool
    """whether programs side by side share their weights, rather than their positions"""


def tiling(config: ConvConfig, problem: ConvProblem, target: Target) -> Tiling:
    """Count tiles, steps and waves."""
    taps = problem.kernel[0] * problem.kernel[1]
    tiles_m = cdiv(problem.out_channels, config.block_m)
    tiles_y, tiles_x = cdiv(problem.rows, config.block_y), cdiv(problem.columns, config.block_x)
    tiles_n = problem.batch * tiles_y * tiles_x
    work = tiles_m * tiles_n * config.splits
    weights = taps * problem.channels * problem.out_channels
    activations = problem.batch * problem.rows * problem.columns * problem.channels
    return Tiling(
        tiles_m=tiles_m,
        tiles_y=tiles_y,
        tiles_x=tiles_x,
        tiles_n=tiles_n,
        steps=cdiv(total_steps(config.block_k, problem), config.splits),
        work=work,
        waves=cdiv(work, target.multiprocessors * config.programs),
        positions_first=weights > activations,
    )


def total_steps(block_k: int, problem: ConvProblem) -> int:
    """Steps of the whole sum."""
    return problem.kernel[0] * problem.kernel[1] * cdiv(problem.channels, block_k)
