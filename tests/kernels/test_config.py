"""The tiles: what kernels and Triton need of them holds for every problem."""

from __future__ import annotations

import itertools

import pytest

from fcnrt_kernels.config import (
    LANE_MULTIPLE,
    next_power_of_two,
    select_first_tile,
    select_matrix_tile,
    select_pixel_tile,
)


def is_power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@pytest.mark.parametrize(("value", "power"), [(0, 1), (1, 1), (2, 2), (3, 4), (64, 64), (65, 128)])
def test_next_power_of_two(value: int, power: int) -> None:
    assert next_power_of_two(value) == power


def test_pixel_tiles() -> None:
    for height, width in itertools.product((*range(1, 70), 500, 2048), repeat=2):
        tile = select_pixel_tile(height, width)
        assert is_power_of_two(tile.block_y)
        assert is_power_of_two(tile.block_x)
        assert tile.block_y * tile.block_x <= 1024
        # No tile is more than twice as long as it has to be, but for rows as short as 16.
        assert tile.block_y < 2 * height
        assert tile.block_x < 2 * width or tile.block_x == 16


@pytest.mark.parametrize("dense", [False, True], ids=["score", "dense"])
def test_matrix_tiles(dense: bool) -> None:
    for classes, channels, itemsize in itertools.product((*range(1, 70), 300), (*range(1, 70), 512, 4096), (2, 4)):
        tile = select_matrix_tile(classes, channels, itemsize, dense=dense)
        for block in (tile.block_p, tile.block_c, tile.block_k):
            assert is_power_of_two(block)
            assert block >= LANE_MULTIPLE  # tl.dot takes no smaller side
        assert tile.block_c >= min(classes, 32 if dense else 64)  # the skip is read once
        assert tile.block_k * itemsize <= 128


@pytest.mark.parametrize("exact", [False, True], ids=["tensor cores", "exact"])
def test_first_tiles(exact: bool) -> None:
    for terms, channels in itertools.product((*range(1, 70), 147, 363), (*range(1, 70), 96)):
        tile = select_first_tile(terms, channels, exact=exact)
        for block in (tile.block_y * tile.block_x, tile.block_c, tile.block_k):
            assert is_power_of_two(block)
            assert block >= LANE_MULTIPLE
        assert tile.block_y * tile.block_x == 32 * tile.num_warps  # a position to a thread
        assert exact or tile.block_k >= min(terms, 32)  # VGG's 27 terms in one step
