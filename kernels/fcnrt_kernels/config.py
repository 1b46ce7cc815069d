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


def select_first_tile(terms: int, out_channels: int, *, exact: bool) -> MatrixTile:
    """For the first layer, whose sums have few terms: all of them at once up to 32, as many channels as VGG has."""
    block_c = min(32 if exact else 64, max(LANE_MULTIPLE, next_power_of_two(out_channels)))
    block_k = min(16 if exact else 32, max(LANE_MULTIPLE, next_power_of_two(terms)))
    return MatrixTile(block_p=64 if exact else 128, block_c=block_c, block_k=block_k)


def next_power_of_two(value: int) -> int:
    """The smallest power of two that is not below ``value`` (at least 1)."""
    return 1 << max(value - 1, 0).bit_length()
