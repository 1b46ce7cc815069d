"""Procedural scenes with exact label maps: what the demo net learns from, and what int8 is calibrated on.

``scene(seed, height, width)`` is a pure function of its arguments. Ten classes of objects lie on textured grounds,
overlapping, at any rotation, lit from one side. A class has its usual colours, which some of its objects do not keep
to, and any texture: colour helps, and shape decides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from fcnrt.demo.backgrounds import Picture, paint_background
from fcnrt.demo.colours import Colour, draw_scheme, object_colours
from fcnrt.demo.drawing import Light, Placement, draw_object
from fcnrt.demo.noise import fractal_noise, unit
from fcnrt.demo.shapes import OUTLINES, scrap
from fcnrt.errors import InputError

CLASSES: tuple[str, ...] = ("background", *OUTLINES)

CROWDING = 0.36
"""Mean squared radius of the objects, times their number, over the scene's area."""
SMALLEST, LARGEST = 20.0, 130.0
"""Radii in pixels. Many parts, stems and handles above all, are far thinner than a cell of a stride-32 score map."""
THIN = {"key": 1.5, "pencil": 1.5, "flower": 1.2, "umbrella": 1.1, "butterfly": 1.1}
"""These are slight for their length: a factor on the radius keeps them visible."""


def scene(seed: int, height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draws scene number ``seed``: RGB uint8 [height, width, 3] and labels uint8 [height, width] (see ``CLASSES``)."""
    if height < 1 or width < 1:
        raise InputError(f"a scene of {height}x{width} pixels has no area; give a height and a width of at least 1")
    rng = np.random.default_rng(seed)
    scheme, canvas, labels, light = _set_up(rng, height, width)
    if rng.random() < 0.4:
        for _ in range(int(rng.integers(2, 6))):
            place = _place(rng, labels, rng.uniform(6, 26))
            draw_object(rng, canvas, labels, scrap(rng), 0, place, scheme, light)
    _populate(rng, canvas, labels, scheme, light)
    return _develop(rng, canvas), labels


def portrait(seed: int, size: int) -> tuple[NDArray[np.uint8], int]:
    """One object in the middle of a square image, perhaps before another: RGB uint8 [size, size, 3] and its class."""
    rng = np.random.default_rng(seed)
    scheme, canvas, labels, light = _set_up(rng, size, size)
    outlines = list(OUTLINES.values())
    kinds = rng.integers(0, len(outlines), 2)
    x, y = rng.uniform(0, size, 2)
    aside = _posed(rng, float(x), float(y), rng.uniform(0.12, 0.3) * size)
    x, y = size / 2 + rng.uniform(-0.1, 0.1, 2) * size
    middle = _posed(rng, float(x), float(y), rng.uniform(0.28, 0.5) * size)
    objects = list(zip(kinds, (aside, middle), strict=True))
    for kind, place in objects if rng.random() < 0.5 else objects[1:]:
        draw_object(
            rng,
            canvas,
            labels,
            outlines[int(kind)](rng),
            int(kind) + 1,
            place,
            object_colours(rng, int(kind), scheme),
            light,
        )
    return _develop(rng, canvas), int(kinds[1]) + 1


def _set_up(
    rng: np.random.Generator, height: int, width: int
) -> tuple[list[Colour], Picture, NDArray[np.uint8], Light]:
    """Colours, a ground, an empty label map, a light."""
    scheme = draw_scheme(rng)
    canvas = paint_background(rng, height, width, scheme)
    labels = np.zeros((height, width), dtype=np.uint8)
    turn = rng.uniform(0, 2 * np.pi)
    light = Light(
        direction=(float(np.cos(turn)), float(np.sin(turn))),
        relief=rng.uniform(0.2, 0.5),
        shadow=rng.uniform(0.15, 0.55),
        reach=rng.uniform(0.05, 0.18),
    )
    return scheme, canvas, labels, light


def _populate(
    rng: np.random.Generator, canvas: Picture, labels: NDArray[np.uint8], scheme: list[Colour], light: Light
) -> None:
    """Objects from large to small, roughly: a small one is rarely buried, and often lies on a larger one."""
    height, width = labels.shape
    largest = min(LARGEST, 0.32 * max(height, width))
    smallest = min(SMALLEST, largest / 2)
    squared = (largest**2 - smallest**2) / (
        2 * np.log(largest / smallest)
    )  # the mean, of radii even in their logarithm
    count = max(1, round(CROWDING * height * width / squared * rng.uniform(0.6, 1.3)))
    radii = np.exp(rng.uniform(np.log(smallest), np.log(largest), count))
    order = np.argsort(-radii * np.exp(rng.normal(0, 0.35, count)))
    kinds = rng.permutation(len(OUTLINES))[np.arange(count) % len(OUTLINES)]
    rng.shuffle(kinds)
    outlines = list(OUTLINES.items())
    for radius, kind in zip(radii[order], kinds, strict=True):
        name, outline = outlines[int(kind)]
        place = _place(rng, labels, float(radius) * THIN.get(name, 1.0))
        draw_object(
            rng, canvas, labels, outline(rng), int(kind) + 1, place, object_colours(rng, int(kind), scheme), light
        )


def _place(rng: np.random.Generator, labels: NDArray[np.uint8], radius: float) -> Placement:
    """The emptiest of a few random spots: objects overlap, but do not pile up."""
    height, width = labels.shape
    best, least = (0.0, 0.0), np.inf
    for _ in range(int(rng.integers(1, 5))):
        x, y = rng.uniform(-0.02, 1.02) * width, rng.uniform(-0.02, 1.02) * height
        reach = radius * 0.7
        spot = labels[max(int(y - reach), 0) : int(y + reach) + 1 : 3, max(int(x - reach), 0) : int(x + reach) + 1 : 3]
        taken = float((spot > 0).mean()) if spot.size else 1.0
        if taken < least:
            best, least = (x, y), taken
    return _posed(rng, *best, radius)


def _posed(rng: np.random.Generator, x: float, y: float, radius: float) -> Placement:
    """An object at this place, turned and stretched any way."""
    return Placement(
        x=x,
        y=y,
        radius=radius,
        angle=rng.uniform(0, 2 * np.pi),
        squeeze=rng.uniform(0.8, 1.1),
        mirror=float(rng.choice([-1.0, 1.0])),
    )


def _develop(rng: np.random.Generator, canvas: Picture) -> NDArray[np.uint8]:
    """Room light, cast shadows, colour cast, lens and sensor: float RGB 0..1 -> uint8."""
    height, width = canvas.shape[:2]
    turn = rng.uniform(0, 2 * np.pi)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    lighting = 1 + np.float32(rng.uniform(0, 0.28)) * (x * np.float32(np.cos(turn)) + y * np.float32(np.sin(turn)))
    lighting *= 1 - np.float32(rng.uniform(0, 0.18)) * (x * x + y * y)
    if rng.random() < 0.3:
        foliage = fractal_noise(rng, height, width, rng.uniform(40, 90), 2)
        lighting *= 1 - np.float32(rng.uniform(0.2, 0.45)) * unit((foliage - 0.5) * 9)
    cast = rng.normal(1.0, 0.04, 3).astype(np.float32)
    canvas = canvas * (lighting[..., None] * cast)
    grain = rng.uniform(0, 0.03)
    if grain > 0.006:
        canvas = canvas + np.float32(grain) * rng.standard_normal((height, width, 1), dtype=np.float32)
    pixels = np.asarray(unit(canvas) * 255 + 0.5, dtype=np.uint8)
    if rng.random() < 0.2:
        soft = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.0)))
        pixels = np.array(soft)
    return pixels
