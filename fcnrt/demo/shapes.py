"""The outlines of the demo's ten object classes.

A shape is a list of parts drawn one over the other. Coordinates are (x, y) with y downwards, inside the unit disc.
Every class varies in its proportions; none owns a colour or a texture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Tone = Literal["base", "second", "dark", "light", "hole"]
"""``base`` carries the object's texture; ``hole`` cuts through to whatever lies beneath."""


@dataclass(frozen=True)
class Part:
    points: Points
    tone: Tone


Outline = Callable[[np.random.Generator], list[Part]]


def ellipse(
    x: float, y: float, rx: float, ry: float, *, turn: float = 0.0, start: float = 0.0, end: float = 2 * np.pi
) -> Points:
    """Points of an ellipse turned by ``turn`` radians, or of the arc from ``start`` to ``end``."""
    t = np.linspace(start, end, 36)
    px, py = rx * np.cos(t), ry * np.sin(t)
    return np.stack([x + px * np.cos(turn) - py * np.sin(turn), y + px * np.sin(turn) + py * np.cos(turn)], 1)


def stroke(line: Points, thickness: float) -> Points:
    """The polygon of a line of that thickness."""
    tangent = np.gradient(line, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    return np.concatenate([line + normal * thickness / 2, (line - normal * thickness / 2)[::-1]])


def box(left: float, top: float, right: float, bottom: float) -> Points:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def ball(rng: np.random.Generator) -> list[Part]:
    parts = [Part(ellipse(0, 0, 1, 1), "base")]
    style = rng.integers(4)
    if style == 0:
        edges = np.linspace(-1, 1, 7)
        for left, right in zip(edges[0::2], edges[1::2], strict=False):
            y = np.linspace(-1, 1, 25)
            bulge = np.sqrt(1 - y**2)
            panel = np.concatenate([np.stack([left * bulge, y], 1), np.stack([right * bulge, y], 1)[::-1]])
            parts.append(Part(panel, "second"))
    elif style == 1:
        for turn in np.arange(5) * 2 * np.pi / 5:
            parts.append(Part(ellipse(0.72 * np.cos(turn), 0.72 * np.sin(turn), 0.2, 0.2), "dark"))
        parts.append(Part(ellipse(0, 0, 0.26, 0.26), "dark"))
    elif style == 2:
        parts.append(Part(stroke(ellipse(-1.1, 0, 0.8, 0.9, start=-0.95, end=0.95), 0.09), "light"))
        parts.append(Part(stroke(ellipse(1.1, 0, 0.8, 0.9, start=np.pi - 0.95, end=np.pi + 0.95), 0.09), "light"))
    return parts


def star(rng: np.random.Generator) -> list[Part]:
    points = int(rng.choice([5, 5, 5, 6]))
    inner = rng.uniform(0.38, 0.5)
    angle = np.arange(2 * points) * np.pi / points - np.pi / 2
    radius = np.where(np.arange(2 * points) % 2 == 0, 1.0, inner)
    outline = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    parts = [Part(outline, "base")]
    if rng.random() < 0.4:
        parts.append(Part(outline * 0.55, "second"))
    return parts


def flower(rng: np.random.Generator) -> list[Part]:
    parts = []
    head_y = -0.42
    bend = rng.uniform(-0.25, 0.25)
    t = np.linspace(0, 1, 16)
    stem = np.stack([bend * np.sin(np.pi * t), head_y + t * (1 - head_y)], 1)
    parts.append(Part(stroke(stem, 0.085), "dark"))
    if rng.random() < 0.6:
        side = float(rng.choice([-1, 1]))
        parts.append(Part(ellipse(side * 0.24 + bend, 0.45, 0.25, 0.1, turn=-side * 0.6), "dark"))
    petals = int(rng.integers(5, 9))
    reach, slim = 0.34, rng.uniform(0.6, 0.95) * np.pi * 0.34 / petals
    for turn in np.arange(petals) * 2 * np.pi / petals + rng.uniform(0, np.pi):
        x, y = reach * np.cos(turn), head_y + reach * np.sin(turn)
        parts.append(Part(ellipse(x, y, 0.24, slim, turn=turn), "base"))
    parts.append(Part(ellipse(0, head_y, 0.19, 0.19), "second"))
    return parts


def leaf(rng: np.random.Generator) -> list[Part]:
    breadth = rng.uniform(0.32, 0.55)
    t = np.linspace(0, 1, 40)
    skew = rng.uniform(0.7, 1.3)
    half = breadth * np.sin(np.pi * t**skew) ** 0.9
    if rng.random() < 0.5:
        half = half * (1 + 0.16 * (((t * rng.integers(6, 10)) % 1) - 0.5))
    y = -1 + 1.6 * t
    curve = rng.uniform(-0.2, 0.2) * np.sin(np.pi * t)
    outline = np.concatenate([np.stack([curve + half, y], 1), np.stack([curve - half, y], 1)[::-1]])
    rib = np.stack([curve, y], 1)
    parts = [Part(stroke(np.array([[0, 0.58], [0.02, 0.8], [0.08, 1.0]]), 0.075), "second"), Part(outline, "base")]
    for start in np.linspace(0.25, 0.8, 4):
        i = int(start * 39)
        for side in (-1, 1):
            tip = rib[i] + [side * half[i] * 0.75, -0.22]
            parts.append(Part(stroke(np.array([rib[i], tip]), 0.03), "second"))
    parts.append(Part(stroke(rib[2:], 0.05), "second"))
    return parts


def fish(rng: np.random.Generator) -> list[Part]:
    tall = rng.uniform(0.34, 0.56)
    tail = rng.uniform(0.34, 0.5)
    parts = [
        Part(np.array([[0.4, 0], [1.0, -tail], [0.84, 0], [1.0, tail]]), "second"),
        Part(np.array([[-0.35, -tall * 0.7], [0.1, -tall - 0.24], [0.42, -tall * 0.3]]), "second"),
        Part(np.array([[-0.1, tall * 0.8], [0.15, tall + 0.2], [0.3, tall * 0.5]]), "second"),
    ]
    t = np.linspace(0, 1, 30)
    half = tall * np.sin(np.pi * t**0.8) ** 0.75
    x = -1 + 1.6 * t
    body = np.concatenate([np.stack([x, half], 1), np.stack([x, -half], 1)[::-1]])
    parts.append(Part(body, "base"))
    if rng.random() < 0.5:
        for i in (10, 15, 20):
            bar = np.stack([np.full(5, x[i]), np.linspace(-half[i], half[i], 5) * 0.92], 1)
            parts.append(Part(stroke(bar, 0.1), "second"))
    parts += [Part(ellipse(-0.62, -0.12, 0.1, 0.1), "light"), Part(ellipse(-0.64, -0.12, 0.05, 0.05), "dark")]
    return parts


def butterfly(rng: np.random.Generator) -> list[Part]:
    upper, lower = rng.uniform(0.4, 0.52), rng.uniform(0.3, 0.4)
    lift = rng.uniform(0.5, 0.8)
    parts: list[Part] = []
    for side in (-1, 1):
        feeler = np.array([[side * 0.03, -0.4], [side * 0.12, -0.7], [side * 0.32, -0.85]])
        parts.append(Part(stroke(feeler, 0.05), "dark"))
        parts.append(Part(ellipse(side * 0.42, 0.42, lower, 0.27, turn=side * 0.75), "second"))
        parts.append(Part(ellipse(side * 0.48, -0.25, upper, 0.32, turn=-side * lift), "base"))
    if rng.random() < 0.6:
        for side in (-1, 1):
            parts.append(Part(ellipse(side * 0.58, -0.36, 0.13, 0.13), "light"))
            parts.append(Part(ellipse(side * 0.46, 0.48, 0.1, 0.1), "base"))
    parts.append(Part(ellipse(0, 0.05, 0.085, 0.5), "dark"))
    return parts


def umbrella(rng: np.random.Generator) -> list[Part]:
    depth = rng.uniform(0.62, 0.85)
    base = 0.0
    hook = ellipse(0.14, 0.82, 0.14, 0.16, start=0, end=np.pi)[::-1]
    shaft = np.concatenate([np.array([[0.0, -depth - 0.1], [0.0, 0.4]]), hook])
    parts = [Part(stroke(shaft, 0.075), "dark")]
    scallops = int(rng.integers(4, 7))
    t = np.linspace(0, 1, 10 * scallops + 1)
    dome = ellipse(0, base, 1, depth, start=-np.pi, end=0)
    hem = np.stack([1 - 2 * t, base - 0.12 * np.abs(np.sin(np.pi * scallops * t))], 1)
    parts.append(Part(np.concatenate([dome, hem]), "base"))
    edges = np.linspace(-1, 1, scallops + 1)
    for left, right in zip(edges[1::2], edges[2::2], strict=False):
        y = np.linspace(0, 1, 14)
        arc = np.sqrt(1 - y**2)
        rise = base - depth * y
        panel = np.concatenate([np.stack([left * arc, rise], 1), np.stack([right * arc, rise], 1)[::-1]])
        middle = (left + right) / 2
        panel = np.concatenate([panel, [[middle + 0.1, base - 0.12], [middle - 0.1, base - 0.12]]])
        parts.append(Part(panel, "second"))
    return parts


def mug(rng: np.random.Generator) -> list[Part]:
    wide, taper = rng.uniform(0.5, 0.62), rng.uniform(0.75, 1.0)
    tall = rng.uniform(0.68, 0.85)
    grip = rng.uniform(0.32, 0.42)
    handle = ellipse(wide * 0.9, 0.02, grip, tall * 0.5, start=-np.pi / 2, end=np.pi / 2)
    parts = [Part(stroke(handle, 0.14), "base")]
    foot = ellipse(0, tall, wide * taper, 0.13, start=0, end=np.pi)
    parts.append(Part(np.concatenate([[[-wide, -tall], [wide, -tall]], foot]), "base"))
    style = rng.integers(3)
    if style == 0:
        parts.append(Part(box(-wide * 0.94, -0.15, wide * 0.94, 0.2), "second"))
    elif style == 1:
        parts.append(Part(ellipse(0, 0.08, 0.25, 0.25), "second"))
    parts.append(Part(ellipse(0, -tall, wide, 0.15), "light"))
    parts.append(Part(ellipse(0, -tall + 0.02, wide * 0.86, 0.1), "dark"))
    return parts


def key(rng: np.random.Generator) -> list[Part]:
    head = rng.uniform(0.3, 0.38)
    bore = head * rng.uniform(0.45, 0.62)
    y = -1 + head
    parts = [Part(box(-0.075, y, 0.075, 1.0), "base")]
    side = float(rng.choice([-1, 1]))
    for top, reach in zip((0.5, 0.78), rng.uniform(0.24, 0.36, 2), strict=True):
        left, right = sorted((0.0, side * float(reach)))
        parts.append(Part(box(left, top, right, top + 0.15), "base"))
    if rng.random() < 0.5:
        parts.append(Part(ellipse(0, y, head, head), "base"))
    else:
        parts.append(Part(np.array([[0, y - head], [head, y], [0, y + head], [-head, y]]) * [1.1, 1.0], "base"))
    parts.append(Part(box(-0.13, y + head, 0.13, y + head + 0.09), "second"))
    parts.append(Part(ellipse(0, y, bore, bore), "hole"))
    return parts


def pencil(rng: np.random.Generator) -> list[Part]:
    half = rng.uniform(0.075, 0.12)
    cone = 3.2 * half
    return [
        Part(box(-half, -0.8, half, 1 - cone), "base"),
        Part(box(-half / 3, -0.8, half / 3, 1 - cone), "second"),
        Part(np.array([[-half, 1 - cone], [half, 1 - cone], [0, 1.0]]), "light"),
        Part(np.array([[-half / 3, 1 - cone / 3], [half / 3, 1 - cone / 3], [0, 1.0]]), "dark"),
        Part(box(-half, -0.84, half, -0.76), "light"),
        Part(
            np.concatenate([ellipse(0, -0.88, half, 0.12, start=-np.pi, end=0), box(half, -0.85, -half, -0.85)[:2]]),
            "dark",
        ),
    ]


OUTLINES: Mapping[str, Outline] = {
    "ball": ball,
    "star": star,
    "flower": flower,
    "leaf": leaf,
    "fish": fish,
    "butterfly": butterfly,
    "umbrella": umbrella,
    "mug": mug,
    "key": key,
    "pencil": pencil,
}
"""Class name -> what draws it, in label order from 1."""


def scrap(rng: np.random.Generator) -> list[Part]:
    """Litter that belongs to the background: a pebble, a shard or a stick, none of them one of the classes."""
    style = rng.integers(3)
    if style == 0:
        angle = np.sort(rng.uniform(0, 2 * np.pi, 4))
        return [Part(np.stack([np.cos(angle), np.sin(angle)], 1), "base")]
    if style == 1:
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        radius = 0.75 + 0.2 * np.sin(2 * angle + rng.uniform(0, 6)) + 0.1 * np.sin(3 * angle + rng.uniform(0, 6))
        return [Part(np.stack([radius * np.cos(angle), 0.55 * radius * np.sin(angle)], 1), "base")]
    t = np.linspace(-1, 1, 10)
    return [Part(stroke(np.stack([t, rng.uniform(0.2, 0.6) * t**2], 1), rng.uniform(0.08, 0.16)), "base")]
