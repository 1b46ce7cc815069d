"""Puts one object into a scene: fill, shading, shadow, and its pixels in the label map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from fcnrt.demo.backgrounds import Picture
from fcnrt.demo.colours import Colour, contrasting
from fcnrt.demo.noise import Field, unit
from fcnrt.demo.patterns import PATTERNS
from fcnrt.demo.shapes import Part, Points


@dataclass(frozen=True)
class Placement:
    """Where an object lies: ``radius`` in pixels, ``squeeze`` scales its width, ``mirror`` is 1 or -1."""

    x: float
    y: float
    radius: float
    angle: float
    squeeze: float
    mirror: float

    @property
    def matrix(self) -> NDArray[np.float64]:
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        return turn @ np.diag([self.radius * self.squeeze * self.mirror, self.radius])


@dataclass(frozen=True)
class Light:
    """One light per scene: a direction, how much it models, and how dark and long its shadows are."""

    direction: tuple[float, float]
    relief: float
    shadow: float
    reach: float


@dataclass(frozen=True)
class Window:
    """The part of the canvas that an object and its shadow can reach."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def around(cls, points: Points, margin: int, height: int, width: int) -> Window:
        left, top = (max(int(low) - margin, 0) for low in points.min(0))
        right, bottom = (int(high) + margin + 1 for high in points.max(0))
        return cls(left, top, min(right, width), min(bottom, height))

    @property
    def size(self) -> tuple[int, int]:
        return self.right - self.left, self.bottom - self.top

    @property
    def index(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True)
class Cutout:
    """An object before any light falls on it, in its window; ``mask`` is its coverage, 0..255."""

    mask: Image.Image
    colour: Picture
    textured: Field


def draw_object(
    rng: np.random.Generator,
    canvas: Picture,
    labels: NDArray[np.uint8],
    parts: Sequence[Part],
    index: int,
    place: Placement,
    scheme: list[Colour],
    light: Light,
) -> None:
    """Draws ``parts`` into ``canvas`` and writes ``index`` into ``labels``, both in place."""
    outlines = [part.points @ place.matrix.T + (place.x, place.y) for part in parts]
    window = Window.around(np.concatenate(outlines), int(place.radius * 0.35) + 4, *labels.shape)
    if min(window.size) < 4:
        return
    ground = canvas[window.index]
    base = contrasting(scheme, ground.mean((0, 1)), rng)
    second = contrasting(scheme, base, rng)

    cutout = _cut(parts, outlines, window, base, second, fine=3 if place.radius < 40 else 2)
    alpha, colour = _bytes_to_unit(cutout.mask), cutout.colour
    pattern = PATTERNS[int(rng.integers(len(PATTERNS)))](rng, *_own_frame(place, window))
    share = np.float32(rng.uniform(0.45, 0.9)) * pattern * cutout.textured
    colour += share[..., None] * (second - colour)

    softness = max(1.0, place.radius * 0.09)
    soft = _bytes_to_unit(cutout.mask.filter(ImageFilter.GaussianBlur(softness)))
    slope_y, slope_x = np.gradient(soft, axis=0), np.gradient(soft, axis=1)
    relief = (slope_x * light.direction[0] + slope_y * light.direction[1]) * np.float32(2.0 * softness)
    colour *= (1 + np.float32(light.relief) * np.clip(relief, -1, 1))[..., None]
    if rng.random() < 0.25:
        rim = alpha - _bytes_to_unit(cutout.mask.filter(ImageFilter.MinFilter(3)))
        colour *= (1 - 0.65 * unit(rim))[..., None]

    right, down = (round(-d * light.reach * place.radius) for d in light.direction)
    ground *= (1 - np.float32(light.shadow) * _shifted(soft, right, down))[..., None]
    ground += alpha[..., None] * (unit(colour) - ground)
    labels[window.index][alpha > 0.5] = index


def _cut(
    parts: Sequence[Part], outlines: Sequence[Points], window: Window, base: Colour, second: Colour, *, fine: int
) -> Cutout:
    """Draws the parts ``fine`` times as large and averages, which leaves smooth edges."""
    tones = {"base": base, "second": second, "dark": second * 0.25 + 0.03, "light": base * 0.15 + 0.8}
    size = (window.size[0] * fine, window.size[1] * fine)
    # The colour starts out as the base everywhere, so that no foreign colour is averaged into an edge.
    mask, textured, paint = Image.new("L", size), Image.new("L", size), Image.new("RGB", size, _rgb(base))
    on_mask, on_textured, on_paint = ImageDraw.Draw(mask), ImageDraw.Draw(textured), ImageDraw.Draw(paint)
    for part, outline in zip(parts, outlines, strict=True):
        polygon = ((outline - (window.left, window.top)) * fine).ravel().tolist()
        on_mask.polygon(polygon, fill=0 if part.tone == "hole" else 255)
        on_textured.polygon(polygon, fill=255 if part.tone == "base" else 0)
        if part.tone != "hole":
            on_paint.polygon(polygon, fill=_rgb(tones[part.tone]))
    return Cutout(mask.reduce(fine), _bytes_to_unit(paint.reduce(fine)), _bytes_to_unit(textured.reduce(fine)))


def _own_frame(place: Placement, window: Window) -> tuple[Field, Field]:
    """Every pixel's coordinates (x, y) in the frame that the object's outlines are given in."""
    inverse = np.linalg.inv(place.matrix).astype(np.float32)
    across = np.arange(window.left, window.right, dtype=np.float32)[None, :] - np.float32(place.x)
    along = np.arange(window.top, window.bottom, dtype=np.float32)[:, None] - np.float32(place.y)
    return inverse[0, 0] * across + inverse[0, 1] * along, inverse[1, 0] * across + inverse[1, 1] * along


def _rgb(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = (round(float(value) * 255) for value in unit(colour))
    return red, green, blue


def _bytes_to_unit(image: Image.Image) -> NDArray[np.float32]:
    shares: NDArray[np.float32] = np.asarray(image, dtype=np.float32) / np.float32(255)
    return shares


def _shifted(field: Field, right: int, down: int) -> Field:
    """The field moved by whole pixels, zeros coming in behind it."""
    out = np.zeros_like(field)
    height, width = field.shape
    if abs(right) >= width or abs(down) >= height:
        return out
    rows, rows_from = slice(max(down, 0), height + min(down, 0)), slice(max(-down, 0), height - max(down, 0))
    columns, columns_from = slice(max(right, 0), width + min(right, 0)), slice(max(-right, 0), width - max(right, 0))
    out[rows, columns] = field[rows_from, columns_from]
    return out
