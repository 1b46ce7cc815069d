"""Textured grounds for the demo scenes. Each painter returns float32 RGB [height, width, 3] in 0..1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from fcnrt.demo.colours import Colour, mute
from fcnrt.demo.noise import Field, fractal_noise, rotated_grid, unit, value_noise

Picture = NDArray[np.float32]
Painter = Callable[[np.random.Generator, int, int, Colour, Colour], Picture]


def mix(first: Colour, second: Colour, share: Field) -> Picture:
    """``first`` where ``share`` is 0, ``second`` where it is 1."""
    return first + share[..., None] * (second - first)


def shade(picture: Picture, factor: Field) -> Picture:
    return picture * factor[..., None]


def _cell_tone(rng: np.random.Generator, rows: Field, columns: Field, spread: float) -> Field:
    """One random brightness for every (row, column) cell, 1 on average."""
    table = rng.normal(1.0, spread, 256).astype(np.float32)
    index = (rows.astype(np.int64) * 31 + columns.astype(np.int64) * 17) % 256
    return np.asarray(table[index])


def clouds(rng: np.random.Generator, height: int, width: int, a: Colour, b: Colour) -> Picture:
    noise = fractal_noise(rng, height, width, rng.uniform(50, 120), 4)
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    return mix(a, b, unit(0.5 * ramp + 1.6 * (noise - 0.5) + 0.25))


def meadow(rng: np.random.Generator, height: int, width: int, a: Colour, b: Colour) -> Picture:
    blades = value_noise(rng, height, width, (rng.uniform(5, 10), 1.5))
    patches = fractal_noise(rng, height, width, 60, 2)
    return shade(mix(a, b, unit(1.8 * patches - 0.4)), 0.72 + 0.5 * blades)


def planks(rng: np.random.Generator, height: int, width: int, a: Colour, b: Colour) -> Picture:
    across, along = rotated_grid(height, width, float(rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.08)))
    board = rng.uniform(24, 52)
    row = np.floor(across / board)
    reach = board * 6
    column = np.floor((along + 97 * (row % 3)) / reach)
    grain = value_noise(rng, height, width, (40, 2.5) if abs(across[0, -1]) > abs(along[0, -1]) else (2.5, 40))
    seam = np.minimum((across - row * board), 2.0) / 2
    joint = np.minimum((along + 97 * (row % 3)) - column * reach, 2.0) / 2
    tone = _cell_tone(rng, row, column, 0.1) * (0.8 + 0.3 * grain) * (0.55 + 0.45 * np.minimum(seam, joint))
    return shade(mix(a, b, 0.5 * grain), tone)


def bricks(rng: np.random.Generator, height: int, width: int, a: Colour, b: Colour) -> Picture:
    across, along = rotated_grid(height, width, rng.normal(0, 0.06))
    tall = rng.uniform(14, 26)
    long = tall * rng.uniform(2.0, 2.6)
    row = np.floor(along / tall)
    shifted = across + (row % 2) * (long / 2)
    column = np.floor(shifted / long)
    edge = np.minimum.reduce(
        [
            along - row * tall,
            (row + 1) * tall - along,
            shifted - column * long,
            (column + 1) * long - shifted,
        ]
    )
    rough = value_noise(rng, height, width, (3, 3))
    brick = np.clip(edge - 1.0, 0, 1)
    return shade(mix(b, a, brick), (1 + (_cell_tone(rng, row, column, 0.13) - 1) * brick) * (0.86 + 0.24 * rough))


def tiles(rng: np.random.Generator, height: int, width: int, a: Colour, b: Colour) -> Picture:
    across, along = rotated_grid(height, width, rng.uniform(0, np.pi / 2))
    side = rng.uniform(26, 60)
    row, column = np.floor(along / side), np.floor(across / side)
    inside = np.minimum.reduce(
        [along - row * side, (row + 1) * side - along, across - column * side, (column + 1) * side - across]
    )
    parity = ((row + column) % 2).astype(np.float32)
    bevel = 0.7 + 0.3 * np.clip(inside / 2.5, 0, 1)
    cloudy = fractal_noise(rng, height, width, 30, 2)
    return shade(mix(a, b, 0.85 * parity), _cell_tone(rng, row, column, 0.04) * bevel * (0.9 + 0.2 * cloudy))


def weave(rng: np.random.Generator, height: int, width: int, a: Colour, b: Colour) -> Picture:
    across, along = rotated_grid(height, width, rng.uniform(0, np.pi))
    pitch = np.float32(2 * np.pi / rng.uniform(5, 9))
    cross = np.sin(across * pitch) * np.sin(along * pitch)
    band = rng.uniform(40, 80)
    plaid = (across % band < band * 0.3).astype(np.float32) + (along % band < band * 0.3)
    fuzz = value_noise(rng, height, width, (2, 2))
    return shade(mix(a, b, 0.35 * plaid), 0.85 + 0.12 * cross + 0.12 * fuzz)


def marble(rng: np.random.Generator, height: int, width: int, a: Colour, b: Colour) -> Picture:
    across, _ = rotated_grid(height, width, rng.uniform(0, np.pi))
    warp = fractal_noise(rng, height, width, 70, 4)
    veins = 1 - np.abs(np.sin(across / np.float32(rng.uniform(18, 36)) + 9 * warp))
    return mix(a, b, unit(0.75 * veins**3 + 0.5 * warp))


def bokeh(rng: np.random.Generator, height: int, width: int, a: Colour, b: Colour) -> Picture:
    lights = Image.new("L", (width, height))
    pen = ImageDraw.Draw(lights)
    for _ in range(max(4, height * width // 3500)):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(5, 24)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=int(rng.uniform(60, 200)))
    glow = np.asarray(lights.filter(ImageFilter.GaussianBlur(rng.uniform(1.5, 4))), dtype=np.float32) / 255
    base = fractal_noise(rng, height, width, 80, 2)
    return mix(a, b, unit(base * 0.5 + glow * 0.7))


def pebbles(rng: np.random.Generator, height: int, width: int, a: Colour, b: Colour) -> Picture:
    """Voronoi cells of a jittered grid: the nearest site of any pixel lies in its own or a neighbouring cell."""
    cell = rng.uniform(14, 30)
    rows, columns = int(height / cell) + 4, int(width / cell) + 4
    jitter = rng.random((rows, columns, 2), dtype=np.float32) * 0.9 + 0.05
    tone = rng.normal(1, 0.16, (rows, columns)).astype(np.float32)
    y = np.arange(height, dtype=np.float32)[:, None] / np.float32(cell) + 1
    x = np.arange(width, dtype=np.float32)[None, :] / np.float32(cell) + 1
    row, column = y.astype(np.int64), x.astype(np.int64)
    nearest = np.full((height, width), 9.0, dtype=np.float32)
    second = nearest.copy()
    shown = np.ones((height, width), dtype=np.float32)
    for step_row in (-1, 0, 1):
        for step_column in (-1, 0, 1):
            r, c = row + step_row, column + step_column
            site = jitter[r, c]
            distance = (r.astype(np.float32) + site[..., 0] - y) ** 2 + (c.astype(np.float32) + site[..., 1] - x) ** 2
            closer = distance < nearest
            second = np.where(closer, nearest, np.minimum(second, distance))
            shown = np.where(closer, tone[r, c], shown)
            nearest = np.where(closer, distance, nearest)
    gap = unit((np.sqrt(second) - np.sqrt(nearest)) * 3.5)
    return shade(mix(a, b, unit(shown - 0.6)), shown * (0.45 + 0.55 * gap))


def camouflage(rng: np.random.Generator, height: int, width: int, a: Colour, b: Colour) -> Picture:
    noise = fractal_noise(rng, height, width, rng.uniform(30, 70), 3)
    steps = unit(np.digitize(noise, [0.38, 0.48, 0.58]) / 3)
    return shade(mix(a, b, steps), 0.92 + 0.16 * value_noise(rng, height, width, (2, 2)))


def contours(rng: np.random.Generator, height: int, width: int, a: Colour, b: Colour) -> Picture:
    level = fractal_noise(rng, height, width, rng.uniform(60, 110), 2) * np.float32(rng.uniform(10, 18))
    line = unit(np.abs(level - np.round(level)) * 7)
    picture: Picture = mix(b, a, 0.35 + 0.65 * line) * np.float32(0.97)
    return picture


def sand(rng: np.random.Generator, height: int, width: int, a: Colour, b: Colour) -> Picture:
    _, along = rotated_grid(height, width, rng.uniform(-0.6, 0.6))
    warp = fractal_noise(rng, height, width, 70, 2)
    ripples = np.sin(along / np.float32(rng.uniform(2.5, 5)) + 14 * warp)
    grain = rng.random((height, width), dtype=np.float32)
    return shade(mix(a, b, 0.6 * warp), 0.86 + 0.08 * ripples + 0.14 * grain)


PAINTERS: tuple[Painter, ...] = (
    clouds,
    meadow,
    planks,
    bricks,
    tiles,
    weave,
    marble,
    bokeh,
    pebbles,
    camouflage,
    contours,
    sand,
)


def paint_background(rng: np.random.Generator, height: int, width: int, scheme: list[Colour]) -> Picture:
    """One ground, or two that meet at a wavy horizon: float32 RGB [height, width, 3] in 0..1."""

    def one() -> Picture:
        painter = PAINTERS[int(rng.integers(len(PAINTERS)))]
        first, second = (mute(scheme[int(i)], rng) for i in rng.choice(len(scheme), 2, replace=False))
        return painter(rng, height, width, first, second)

    ground = one()
    if rng.random() < 0.3:
        other = one()
        line = height * rng.uniform(0.3, 0.7) + 14 * value_noise(rng, 1, width, (1, 50))[0]
        below = np.arange(height, dtype=np.float32)[:, None] > line[None, :]
        ground = np.where(below[..., None], other, ground)
    return ground.astype(np.float32)
