"""Scores a net on demo scenes that are drawn on the spot."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from fcnrt.demo.scenes import CLASSES, scene
from fcnrt.metrics import ConfusionMatrix
from fcnrt.preprocessing import normalize

NORMALIZATION = "caffe-voc"
"""The demo net's own: it is written out in pytorch-fcn's layout too, whose convention this is."""


def to_input(images: Tensor) -> Tensor:
    """uint8 RGB ``[N,3,H,W]`` to what the demo net takes."""
    return normalize(images, NORMALIZATION).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def confusion(model: nn.Module, seeds: Iterable[int], height: int, width: int) -> ConfusionMatrix:
    """What ``model`` makes of the scenes of those seeds, one by one; put it into evaluation mode first."""
    matrix = ConfusionMatrix(len(CLASSES))
    for seed in seeds:
        image, labels = scene(seed, height, width)
        logits = model(to_input(torch.from_numpy(image).permute(2, 0, 1)[None]))
        matrix.update(labels, logits.argmax(1)[0].numpy())
    return matrix
