"""Tile sizes, chosen by pure functions of the problem."""

from __future__ import annotations

from dataclasses import dataclass

LANE_MULTIPLE = 16
"""``tl.dot`` takes no smaller side."""


@dataclass(frozen=True)
class PixelTile:
    """A rectangle of output pixels, for kernels that visit the classes one by one."""

    block_y: int
    block_x: int
    num_warps: int = 4


@dataclass(frozen=True)
class MatrixTile:
    """``BLOCK_P`` pixels by ``BLOCK_C`` classes, summed over ``BLOCK_K`` channels at a time."""

    block_p: int
    block_c: int
    block_k: int
    num_warps: int = 8
    num_stages: int = 3


@dataclass(frozen=True)
class FirstTile:
    """A rectangle of positions by ``BLOCK_C`` channels, summed over ``BLOCK_K`` terms at a time."""

    block_y: int
    block_x: int
    block_c: int
    block_k: int
    num_warps: int = 4


def select_pixel_tile(out_height: int, out_width: int) -> PixelTile:
    """Wide tiles keep the stores of one-byte labels whole; a narrow image takes a narrower tile."""
    block_x = min(64, max(16, next_power_of_two(out_width)))
    return PixelTile(block_y=min(512 // block_x, max(1, next_power_of_two(out_height))), block_x=block_x)


def select_matrix_tile(num_classes: int, channels: int, itemsize: int, *, dense: bool = False) -> MatrixTile:
    """All classes in one tile up to 64, so that the pixels are read once; 128 bytes of channels per step.

    ``dense`` taps multiply in full float32, which keeps both operands in registers: a small tile, or it spills.
    """
    block_c = min(32 if dense else 64, max(LANE_MULTIPLE, next_power_of_two(num_classes)))
    block_k = min(16 if dense else 128 // itemsize, max(LANE_MULTIPLE, next_power_of_two(channels)))
    if dense:
        return MatrixTile(block_p=32, block_c=block_c, block_k=block_k, num_stages=2)
    return MatrixTile(block_p=64, block_c=block_c, block_k=block_k)


@dataclass(frozen=True)
class ScoreTile(MatrixTile):
    """The same, with the sum in ``splits`` parts."""

    num_warps: int = 4
    splits: int = 1


def select_score_tile(num_classes: int, channels: int, pixels: int, itemsize: int) -> ScoreTile:
    """Few positions by all classes, and as many parts of the sum as fill a large GPU once."""
    block_c = min(64, max(LANE_MULTIPLE, next_power_of_two(num_classes)))
    # Exact float32 products keep both operands in registers.
    block_k = min(64 if itemsize == 2 else 16, max(LANE_MULTIPLE, next_power_of_two(channels)))
    block_p = 32 if pixels <= 1024 else 64
    programs = -(-pixels // block_p) * -(-num_classes // block_c)
    splits = max(1, min(_SCORE_PROGRAMS // programs, -(-channels // block_k) // 2, 16))
    return ScoreTile(block_p, block_c, block_k, splits=splits)


_SCORE_PROGRAMS = 264
"""Two to a multiprocessor of the largest GPUs."""


def select_first_tile(terms: int, out_channels: int, *, exact: bool) -> FirstTile:
    """For the first layer, whose sums have few terms: all of them at once up to 32, as many channels as VGG has.

    A position to a thread: the terms of all positions are gathered without a word between threads.
    """
    block_c = min(32 if exact else 64, max(LANE_MULTIPLE, next_power_of_two(out_channels)))
    block_k = min(16 if exact else 32, max(LANE_MULTIPLE, next_power_of_two(terms)))
    if exact:
        # For four warps on sm_100 Triton takes tensor cores, and with them TF32, whatever precision was asked for.
        return FirstTile(block_y=1, block_x=64, block_c=block_c, block_k=block_k, num_warps=2)
    return FirstTile(block_y=1, block_x=128, block_c=block_c, block_k=block_k)


def next_power_of_two(value: int) -> int:
    """The smallest power of two that is not below ``value`` (at least 1)."""
    return 1 << max(value - 1, 0).bit_length()
