"""What follows the trunk of an FCN, as data: score layers, transposed convolutions, crops, skip additions.

The eager reference nets walk these tables, and so does the fused engine, so the two cannot drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Upsample:
    """A transposed convolution without padding: ``name`` of the layer, square ``kernel``, ``stride``."""

    name: str
    kernel: int
    stride: int


@dataclass(frozen=True)
class Skip:
    """A finer feature map, scored by a 1x1 convolution, cropped to the coarse scores and added to them."""

    feature: str
    """the trunk's feature map, such as ``pool4``"""
    score: str
    """the 1x1 convolution that scores it, such as ``score_pool4``"""
    crop: int
    """rows and columns dropped at the top and at the left of the scored map"""
    scale: float = 1.0
    """multiplies the feature map before it is scored (the at-once nets' ``scale_pool4``, ``scale_pool3``)"""


@dataclass(frozen=True)
class Stage:
    """One refinement: upsample the scores so far, then add one skip."""

    upsample: Upsample
    skip: Skip


@dataclass(frozen=True)
class Decoder:
    """Score the coarsest feature map, refine stage by stage, upsample to pixels, crop to the image."""

    feature: str
    score: str
    stages: tuple[Stage, ...]
    final: Upsample
    crop: int
