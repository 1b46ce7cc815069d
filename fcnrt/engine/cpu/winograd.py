"""3x3 convolutions by Winograd's F(4x4, 3x3): 36 multiplications for 16 outputs, where the plain sum takes 144.

Lavin, Gray, "Fast Algorithms for Convolutional Neural Networks" (2015): ``Y = A'[(G g G') * (B' d B)]A`` for tiles
``d`` of 6x6 inputs. The middle product becomes 36 matrix products over all tiles of a strip, and a strip is small
enough that what the transforms write stays in the cache.

The matrices interpolate a polynomial at 0, ±5/8, ±3/2 and infinity. With the usual 0, ±1, ±2 the largest error is four
times as large; here it is about that of the plain sum in float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fcnrt.engine.cpu.toom_cook import matrices
from fcnrt.engine.planned.arena import Scratch
from fcnrt.plan.selection import WINOGRAD_TILE as TILE

POINTS = (0.0, 5 / 8, -5 / 8, 3 / 2, -3 / 2)
"""And infinity."""

TAPS = 3
INPUTS = TILE + TAPS - 1
"""Rows and columns that a tile reads."""

STRIP_TILES = 256
"""Tiles of a strip: enough for the matrix products to run at their full rate, and no more."""


@dataclass(frozen=True)
class _Tiles:
    """Tiles of a strip: images, rows and columns of tiles; the last column of tiles is moved left to fit."""

    images: int
    rows: int
    whole: int
    columns: int

    @property
    def count(self) -> int:
        return self.images * self.rows * self.columns


class WinogradConvolution:
    """``relu(conv3x3(x) + bias)``, or without ReLU, into a given tensor; weights transformed once.

    Args:
        weight: ``[Co,C,3,3]``.
        bias: ``[Co]``.
        relu: cut at zero.
    """

    def __init__(self, weight: Tensor, bias: Tensor, relu: bool) -> None:
        self.channels, self.in_channels = weight.shape[0], weight.shape[1]
        self.bias, self.relu = bias, relu
        a, g, b = (torch.from_numpy(matrix) for matrix in matrices(POINTS, TILE, TAPS))
        packed = torch.einsum("ai,ocij,bj->abco", g, weight.double(), g)
        self.weight = packed.to(weight.dtype).reshape(INPUTS * INPUTS, *packed.shape[2:]).contiguous()
        self._spread = b.to(weight.dtype)
        self._gather = a.to(weight.dtype)
        # The bias is a seventh row of what the last transform gathers.
        self._gather_with_bias = torch.cat((a, torch.ones(TILE, 1)), dim=1).to(weight.dtype)

    def takes(self, height: int, width: int) -> bool:
        """Whether results of this size can be made: of a tile at least."""
        return min(height, width) >= TILE

    def __call__(self, x: Tensor, out: Tensor, scratch: Scratch, *, pooled: bool = False) -> None:
        """Convolve ``x`` into ``out``.

        Args:
            x: ``[N,H+2,W+2,C]``, H and W at least 4, with contiguous rows.
            out: ``[N,H,W,Co]`` with contiguous channels; with ``pooled`` ``[N,H/2,W/2,Co]``.
            scratch: memory for the transforms.
            pooled: take the largest of each 2x2, for even H and W.
        """
        images, height, width = x.shape[0], x.shape[1] - 2, x.shape[2] - 2
        columns, kept = -(-width // TILE), TILE // 2 if pooled else TILE
        rows = max(1, min(height // TILE, STRIP_TILES // columns))
        group = max(1, STRIP_TILES // (columns * (height // TILE))) if rows == height // TILE else 1
        for first in range(0, images, group):
            some, into = x[first : first + group], out[first : first + group]
            for top, count in _strips(height, rows):
                tiles = _Tiles(some.shape[0], count, width // TILE, columns)
                results = self._strip(some[:, top : top + TILE * count + 2], tiles, scratch, pooled)
                at = top * kept // TILE
                self._write(results, into[:, at : at + kept * count], tiles, kept)

    def _strip(self, x: Tensor, tiles: _Tiles, scratch: Scratch, pooled: bool) -> Tensor:
        """The outputs of each tile: ``[rows,columns,images,tile rows,tile columns,Co]``."""
        one, two, three = scratch
        entries, across = x.shape[2], x.shape[2] * self.in_channels
        size, channels, count = INPUTS, self.in_channels, tiles.count
        image, row = x.stride(0), x.stride(1)
        windows = x.as_strided((tiles.images, tiles.rows, size, across), (image, TILE * row, row, 1))
        half = one.take(windows.numel()).view(windows.shape)
        for source, target in zip(windows, half, strict=True):
            torch.matmul(self._spread, source, out=target)
        squares = two.take(size * size * count * channels)
        shape = (size, size, tiles.images, tiles.rows, tiles.columns, channels)
        squares_by_tile = squares.view(shape)
        per_row = size * across
        strides = (across, channels, tiles.rows * per_row, per_row, TILE * channels, 1)
        by_tile = half.as_strided((*shape[:4], tiles.whole, channels), strides)
        squares_by_tile[..., : tiles.whole, :].copy_(by_tile)
        if tiles.whole < tiles.columns:
            last = half.as_strided((*shape[:4], channels), (*strides[:4], 1), (entries - size) * channels)
            squares_by_tile[..., -1, :].copy_(last)
        spread = three.take(squares.numel())
        torch.matmul(self._spread, squares.view(size, size, -1), out=spread.view(size, size, -1))
        products = two.take(size * size * count * self.channels).view(size * size, count, self.channels)
        torch.bmm(spread.view(size * size, count, channels), self.weight, out=products)
        # From here on as the way in, backwards: columns, then rows with the bias.
        gathered = three.take((size + 1) * TILE * count * self.channels).view(size + 1, TILE, -1)
        torch.matmul(self._gather, products.view(size, size, -1), out=gathered[:size])
        gathered[size].view(TILE, count, self.channels).copy_(self.bias)
        results = two.take(TILE * TILE * count * self.channels)
        torch.mm(self._gather_with_bias, gathered.view(size + 1, -1), out=results.view(TILE, -1))
        outputs = results.view(TILE, TILE, tiles.images, tiles.rows, tiles.columns, self.channels)
        if not pooled:
            return outputs
        halved = three.take(results.numel() // 2).view(TILE // 2, *outputs.shape[1:])
        torch.maximum(outputs[0::2], outputs[1::2], out=halved)
        quartered = two.take(results.numel() // 4).view(TILE // 2, TILE // 2, *outputs.shape[2:])
        return torch.maximum(halved[:, 0::2], halved[:, 1::2], out=quartered)

    def _write(self, results: Tensor, out: Tensor, tiles: _Tiles, kept: int) -> None:
        ordered = results.permute(2, 3, 0, 4, 1, 5)
        image, row, column, _ = out.stride()
        shape = (tiles.images, tiles.rows, kept, tiles.whole, kept, self.channels)
        strides = (image, kept * row, row, kept * column, column, 1)
        self._finish(ordered[:, :, :, : tiles.whole], out.as_strided(shape, strides))
        if tiles.whole < tiles.columns:
            last = out[:, :, out.shape[2] - kept :]
            shape_of_one, strides_of_one = (*shape[:3], kept, self.channels), (*strides[:3], column, 1)
            self._finish(ordered[:, :, :, -1], last.as_strided(shape_of_one, strides_of_one))

    def _finish(self, results: Tensor, out: Tensor) -> None:
        if self.relu:
            torch.clamp_min(results, 0, out=out)
        else:
            out.copy_(results)


def _strips(height: int, rows: int) -> list[tuple[int, int]]:
    """First row and count of tile rows of each strip; the last is moved up to end where the map does."""
    strips = []
    for top in range(0, height, rows * TILE):
        count = min(rows, -(-(height - top) // TILE))
        strips.append((min(top, height - TILE * count), count))
    return strips


class DilatedWinogradConvolution:
    """The same with dilation ``d``: entries ``d`` apart, from each of ``d * d`` first ones, are maps of their own.

    Args:
        weight: ``[Co,C,3,3]``.
        bias: ``[Co]``.
        relu: cut at zero.
        dilation: of rows and columns.
    """

    def __init__(self, weight: Tensor, bias: Tensor, relu: bool, dilation: int) -> None:
        self._plain = WinogradConvolution(weight, bias, relu)
        self._dilation = dilation

    def takes(self, height: int, width: int) -> bool:
        """Whether results of this size can be made: of a tile in every part at least."""
        return min(height, width) >= TILE * self._dilation

    def __call__(self, x: Tensor, out: Tensor, scratch: Scratch) -> None:
        """``[N,H+2d,W+2d,C]`` into ``out``, ``[N,H,W,Co]``."""
        step = self._dilation
        images, height, width, channels = out.shape
        rows, columns = -(-height // step), -(-width // step)
        # Parts that are shorter than the first end in zeros, and what becomes of those is dropped.
        parts = x.new_zeros(step, step, images, rows + 2, columns + 2, x.shape[3])
        results = x.new_empty(step, step, images, rows, columns, channels)
        for row in range(step):
            for column in range(step):
                source = x[:, row::step, column::step]
                parts[row, column, :, : source.shape[1], : source.shape[2]].copy_(source)
        self._plain(parts.flatten(0, 2), results.flatten(0, 2), scratch)
        for row in range(step):
            for column in range(step):
                target = out[:, row::step, column::step]
                target.copy_(results[row, column, :, : target.shape[1], : target.shape[2]])
