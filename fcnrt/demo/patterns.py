"""Textures of objects, drawn in the object's own frame so that they turn with it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fcnrt.demo.noise import Field, unit, value_noise

Pattern = Callable[[np.random.Generator, Field, Field], Field]
"""(rng, x, y in the object's own frame) -> 0..1: how much of the second colour shows."""


def stripes(rng: np.random.Generator, x: Field, y: Field) -> Field:
    turn = rng.uniform(0, np.pi)
    wave = np.sin((x * np.cos(turn) + y * np.sin(turn)) * rng.uniform(9, 20))
    return unit(wave * 6 + 0.5)


def dots(rng: np.random.Generator, x: Field, y: Field) -> Field:
    pitch = rng.uniform(0.3, 0.5)
    u, v = x / pitch, y / pitch
    u = u + 0.5 * (np.floor(v) % 2)
    away = np.hypot(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5)
    return unit((0.3 - away) * 12 + 0.5)


def checks(rng: np.random.Generator, x: Field, y: Field) -> Field:
    pitch = rng.uniform(0.22, 0.4)
    return unit((np.floor(x / pitch) + np.floor(y / pitch)) % 2)


def rings(rng: np.random.Generator, x: Field, y: Field) -> Field:
    return unit(np.sin(np.hypot(x, y) * rng.uniform(12, 22)) * 6 + 0.5)


def zigzag(rng: np.random.Generator, x: Field, y: Field) -> Field:
    pitch = rng.uniform(0.25, 0.4)
    tooth = np.abs(x / pitch - np.round(x / pitch)) * 0.8
    return unit(np.sin((y / pitch + tooth) * np.pi) * 5 + 0.5)


def fade(rng: np.random.Generator, x: Field, y: Field) -> Field:
    turn = rng.uniform(0, 2 * np.pi)
    return unit(0.5 + 0.6 * (x * np.cos(turn) + y * np.sin(turn)))


def speckle(rng: np.random.Generator, x: Field, y: Field) -> Field:
    return unit((value_noise(rng, x.shape[0], x.shape[1], (3, 3)) - 0.45) * 4)


def plain(rng: np.random.Generator, x: Field, y: Field) -> Field:
    return np.zeros_like(x)


PATTERNS: tuple[Pattern, ...] = (plain, plain, plain, fade, fade, stripes, dots, checks, rings, zigzag, speckle)
