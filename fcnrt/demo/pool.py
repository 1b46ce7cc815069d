"""Training pictures, drawn once into memory and used many times over, each time another way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fcnrt.demo.scenes import portrait, scene

Pixels = NDArray[np.uint8]
OnPicture = Callable[[int], None]
"""Called after each picture with the number drawn so far."""


class PortraitPool:
    """The portraits of ``seeds``, ``size`` pixels square: what the classifier learns from."""

    def __init__(self, seeds: Sequence[int], size: int, on_picture: OnPicture = lambda drawn: None) -> None:
        self.images = np.empty((len(seeds), size, size, 3), dtype=np.uint8)
        self.classes = np.empty(len(seeds), dtype=np.int64)
        for index, seed in enumerate(seeds):
            self.images[index], self.classes[index] = portrait(seed, size)
            on_picture(index + 1)

    def batch(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """uint8 RGB ``[N,3,S,S]`` and int64 classes ``[N]``: turned, mirrored, relit."""
        chosen = rng.integers(0, len(self.images), count)
        images = [_relit(rng, _turned(rng, self.images[index])[0]) for index in chosen]
        return _to_tensor(images), torch.from_numpy(self.classes[chosen])


class ScenePool:
    """The square scenes of ``seeds``: what the nets learn from."""

    def __init__(self, seeds: Sequence[int], size: int, on_picture: OnPicture = lambda drawn: None) -> None:
        self.size = size
        self.images = np.empty((len(seeds), size, size, 3), dtype=np.uint8)
        self.labels = np.empty((len(seeds), size, size), dtype=np.uint8)
        for index, seed in enumerate(seeds):
            self.images[index], self.labels[index] = scene(seed, size, size)
            on_picture(index + 1)

    def batch(self, rng: np.random.Generator, count: int, size: int) -> tuple[Tensor, Tensor]:
        """uint8 RGB ``[N,3,S,S]`` and int64 labels ``[N,S,S]``: windows of scenes, turned, mirrored, relit."""
        images, labels = [], []
        for index in rng.integers(0, len(self.images), count):
            top, left = rng.integers(0, self.size - size + 1, 2)
            window = (int(index), slice(top, top + size), slice(left, left + size))
            image, label = _turned(rng, self.images[window], self.labels[window])
            images.append(_relit(rng, image))
            labels.append(label)
        return _to_tensor(images), torch.from_numpy(np.stack(labels)).long()


def _turned(rng: np.random.Generator, *maps: Pixels) -> list[Pixels]:
    """Every map by the same quarter turns, and all mirrored or none."""
    turns, mirror = int(rng.integers(4)), rng.random() < 0.5
    turned = [np.rot90(one, turns) for one in maps]
    return [one[:, ::-1] for one in turned] if mirror else turned


def _relit(rng: np.random.Generator, image: Pixels) -> Pixels:
    """Another brightness curve, and a slight cast: classes keep their usual colours."""
    levels = np.linspace(0, 1, 256)[:, None] ** np.exp(rng.uniform(-0.35, 0.35)) * 255 * rng.uniform(0.85, 1.0, 3)
    curves = np.rint(levels).astype(np.uint8)
    return np.stack([curves[image[..., channel], channel] for channel in range(3)], axis=-1)


def _to_tensor(images: Sequence[Pixels]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
