"""7x7 convolutions by Winograd's F(2x2, 7x7): 64 multiplications for 4 outputs, where the plain sum takes 196.

For fc6, whose map is small and whose weights are many: 64 matrix products over all tiles of a map, each of which reads
its weights once. Transformed weights take 64/49 of the memory of the plain ones.

The polynomials are interpolated at 0, ±1/2, ±1, ±2 and infinity, which of all symmetric choices loses least: with 512
channels the error is three to four times that of oneDNN's sum in float32. In a whole net's logits it does not show.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from fcnrt.engine.cpu.toom_cook import matrices
from fcnrt.engine.planned.arena import Scratch

POINTS = (0.0, 1 / 2, -1 / 2, 1.0, -1.0, 2.0, -2.0)
"""And infinity."""

TAPS, TILE = 7, 2
INPUTS = TILE + TAPS - 1
"""Rows and columns that a tile reads."""

STRIP_TILES = 128
"""Most tiles that are computed together, to bound the memory of what the transforms write."""

CHANNELS = 512
"""Output channels that are computed together: their products stay in the cache until they are gathered."""

PACKED_CHANNELS = 64
"""Output channels whose weights are transformed together, in float64."""

LEAST_POSITIONS = 2
"""Of a map: a single one is a matrix times a vector, for which reading more weights is slower."""


class LargeWinogradConvolution:
    """``relu(conv7x7(x) + bias)``, or without ReLU, into a given tensor; weights transformed once.

    Args:
        weight: ``[Co,C,7,7]``.
        bias: ``[Co]``.
        relu: cut at zero.
    """

    def __init__(self, weight: Tensor, bias: Tensor, relu: bool) -> None:
        self._bias, self._relu = bias, relu
        a, g, b = (torch.from_numpy(matrix) for matrix in matrices(POINTS, TILE, TAPS))
        self._spread, self._gather = b.to(weight.dtype), a.to(weight.dtype)
        self._weight = weight.new_empty(INPUTS * INPUTS, *weight.shape[:2])
        both_axes = torch.kron(g, g)
        for first in range(0, len(weight), PACKED_CHANNELS):
            plain = weight[first : first + PACKED_CHANNELS].double().reshape(-1, TAPS * TAPS)
            target = self._weight[:, first : first + PACKED_CHANNELS]
            target.copy_((both_axes @ plain.T).view(target.shape))

    def takes(self, height: int, width: int) -> bool:
        """Whether results of this size are worth it."""
        return height * width >= LEAST_POSITIONS

    def __call__(self, x: Tensor, out: Tensor, scratch: Scratch) -> None:
        """Convolve ``x`` into ``out``.

        Args:
            x: ``[N,H+6,W+6,C]``.
            out: ``[N,H,W,Co]``.
            scratch: memory for the transforms.
        """
        rows, columns = -(-out.shape[1] // TILE), -(-out.shape[2] // TILE)
        for images, tiles in _strips(out.shape[0], rows, columns):
            self._strip(x[images, tiles.start * TILE :], out[images, tiles.start * TILE : tiles.stop * TILE], scratch)

    def _strip(self, x: Tensor, out: Tensor, scratch: Scratch) -> None:
        size = INPUTS
        images, height, width, channels = out.shape
        rows, columns = -(-height // TILE), -(-width // TILE)
        tiles = images * rows * columns
        most = size * size * tiles * max(x.shape[3], min(channels, CHANNELS))
        one, two, three = (block.take(most) for block in scratch)
        # A last tile that stands out reads the map's last row again, and what becomes of that is dropped.
        row, column = (
            (torch.arange(size)[:, None] + torch.arange(count) * TILE).clamp_max(length - 1)
            for count, length in ((rows, x.shape[1]), (columns, x.shape[2]))
        )
        image = torch.arange(images)[:, None, None]
        inputs = x[image, row[:, None, None, :, None], column[None, :, None, None, :]]
        elements = inputs.numel()
        half, spread = one[:elements].view(size, size, -1), two[:elements].view(size, size, -1)
        torch.mm(self._spread, inputs.view(size, -1), out=half.view(size, -1))
        torch.matmul(self._spread, half, out=spread)
        del inputs
        for first in range(0, channels, CHANNELS):
            weight, bias = self._weight[:, first : first + CHANNELS], self._bias[first : first + CHANNELS]
            each = tiles * len(bias)
            products = three[: size * size * each].view(size * size, tiles, -1)
            torch.bmm(spread.view(size * size, tiles, -1), weight.mT, out=products)
            half, results = one[: TILE * size * each].view(TILE, size, -1), three[: TILE * TILE * each]
            torch.mm(self._gather, products.view(size, -1), out=half.view(TILE, -1))
            torch.matmul(self._gather, half, out=results.view(TILE, TILE, -1))
            results = results.view(TILE, TILE, images, rows, columns, -1).add_(bias)
            if self._relu:
                results.clamp_min_(0)
            ordered = results.permute(2, 3, 0, 4, 1, 5).reshape(images, rows * TILE, columns * TILE, -1)
            out[..., first : first + CHANNELS].copy_(ordered[:, :height, :width])


def _strips(images: int, rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """Images, and rows of tiles, that are computed together."""
    height = min(rows, max(1, STRIP_TILES // columns))
    together = max(1, STRIP_TILES // (height * columns)) if height == rows else 1
    for first in range(0, images, together):
        for top in range(0, rows, height):
            yield slice(first, first + together), slice(top, min(top + height, rows))
