"""Colours of the demo scenes: those of a scene, and those that a class is mostly seen in.

As with things of the world, a class has its usual colours and some objects that do not keep to them: colour helps, and
shape decides.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fcnrt.demo.noise import unit

Colour = NDArray[np.float32]
"""Three floats, RGB, 0..1."""

SCHEMES: tuple[tuple[str, ...], ...] = (
    ("264653", "2a9d8f", "e9c46a", "f4a261", "e76f51", "f1faee"),
    ("1d3557", "457b9d", "a8dadc", "f1faee", "e63946", "ffb703"),
    ("606c38", "283618", "fefae0", "dda15e", "bc6c25", "d62828"),
    ("cdb4db", "ffc8dd", "ffafcc", "bde0fe", "a2d2ff", "5a189a"),
    ("8ecae6", "219ebc", "023047", "ffb703", "fb8500", "f8f9fa"),
    ("386641", "6a994e", "a7c957", "f2e8cf", "bc4749", "3d405b"),
    ("f94144", "f3722c", "f9c74f", "90be6d", "43aa8b", "577590"),
    ("3d405b", "e07a5f", "81b29a", "f2cc8f", "f4f1de", "9c6644"),
    ("2b2d42", "8d99ae", "edf2f4", "ef233c", "d90429", "f6bd60"),
    ("7400b8", "5e60ce", "4ea8de", "56cfe1", "72efdd", "ffd166"),
    ("582f0e", "936639", "a68a64", "c2c5aa", "656d4a", "e4572e"),
    ("ef476f", "ffd166", "06d6a0", "118ab2", "073b4c", "fdfcdc"),
)

TYPICAL: tuple[tuple[str, str], ...] = (
    ("e63946", "f1faee"),
    ("ffd60a", "f77f00"),
    ("ff4d9e", "ffd6e8"),
    ("2f9e44", "a7d948"),
    ("1d6fd1", "8fe3ff"),
    ("7b2cbf", "1b1b2f"),
    ("0f766e", "f4e9cd"),
    ("7f4f24", "d4a373"),
    ("8d99ae", "5c677d"),
    ("fb8500", "14213d"),
)
"""Of each class but the background, in label order from 1."""

UNUSUAL = 0.1
"""Share of objects in colours of the scene instead."""


def _parse(code: str) -> Colour:
    return np.array([int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)], dtype=np.float32)


def draw_scheme(rng: np.random.Generator) -> list[Colour]:
    """A shuffled scheme with its colours jittered, and now and then with its channels permuted."""
    codes = SCHEMES[int(rng.integers(len(SCHEMES)))]
    channels = rng.permutation(3) if rng.random() < 0.3 else np.arange(3)
    colours = [unit(_parse(code)[channels] + rng.normal(0, 0.04, 3)) for code in codes]
    order = rng.permutation(len(colours))
    return [colours[int(i)] for i in order]


def object_colours(rng: np.random.Generator, kind: int, scheme: list[Colour]) -> list[Colour]:
    """What an object of class ``kind + 1`` is painted with: its usual colours, jittered, or the scene's ``scheme``."""
    if rng.random() < UNUSUAL:
        return scheme
    return [unit(_parse(code) + rng.normal(0, 0.05, 3)) for code in TYPICAL[kind]]


def mute(colour: Colour, rng: np.random.Generator) -> Colour:
    """The colour with most of its saturation gone: backgrounds stay behind what lies on them."""
    grey = np.float32(colour.mean())
    keep = np.float32(rng.uniform(0.25, 0.8))
    level = np.float32(rng.uniform(0.4, 0.95))
    return unit((colour - grey) * keep + (grey + level) / 2)


def contrasting(colours: list[Colour], against: Colour, rng: np.random.Generator) -> Colour:
    """One of ``colours``, preferring those far from ``against``, so that nothing is lost on its ground."""
    distances = np.array([float(np.abs(c - against).sum()) for c in colours])
    weights = distances**2 + 1e-3
    return colours[int(rng.choice(len(colours), p=weights / weights.sum()))]
