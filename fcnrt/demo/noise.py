"""Smooth random fields: the raw material of every texture in the demo scenes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

Field = NDArray[np.float32]


def unit(values: ArrayLike) -> Field:
    """``values``, clipped to 0..1."""
    return np.asarray(np.clip(values, 0, 1), dtype=np.float32)


def value_noise(rng: np.random.Generator, height: int, width: int, cell: tuple[float, float]) -> Field:
    """Random values on a grid of ``cell`` = (rows, columns) pixels, joined bicubically: [height, width] in 0..1."""
    # One spare grid node on every side keeps the resampling window inside the grid.
    rows, columns = (max(2, int(n / c) + 1) + 2 for n, c in zip((height, width), cell, strict=True))
    grid = rng.random((rows, columns), dtype=np.float32)
    bottom = min(rows - 1.0, 1.0 + height / cell[0])
    right = min(columns - 1.0, 1.0 + width / cell[1])
    image = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC, (1.0, 1.0, right, bottom))
    return unit(np.asarray(image))


def fractal_noise(rng: np.random.Generator, height: int, width: int, cell: float, octaves: int = 3) -> Field:
    """A sum of value noises, each of half the cell and half the weight of the last: [height, width] in 0..1."""
    total = np.zeros((height, width), dtype=np.float32)
    weight, weights = 1.0, 0.0
    for _ in range(octaves):
        total += np.float32(weight) * value_noise(rng, height, width, (cell, cell))
        weights += weight
        weight, cell = weight / 2, max(cell / 2, 1.0)
    field: Field = total / np.float32(weights)
    return field


def rotated_grid(height: int, width: int, angle: float) -> tuple[Field, Field]:
    """Pixel coordinates (across, along) turned by ``angle`` radians, each [height, width]."""
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)[None, :]
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin
