"""What follows the trunk of an FCN, as data: score layers, upsamplings, crops, skip additions.

The eager reference nets walk these tables, and so does the fused engine, so the two cannot drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Interpolation: TypeAlias = Literal["half_pixel", "align_corners", "nearest"]


@dataclass(frozen=True)
class Deconvolution:
    """Upsampling by a transposed convolution without padding: ``name`` of the layer, square ``kernel``, ``stride``."""

    name: str
    kernel: int
    stride: int


@dataclass(frozen=True)
class Resize:
    """Upsampling by interpolation to the size of what comes next: the skip's map, or the image.

    ``half_pixel`` is torch's bilinear with ``align_corners=False``, ``align_corners`` the same with True.
    """

    rule: Interpolation


Upsampling: TypeAlias = Deconvolution | Resize


@dataclass(frozen=True)
class Score:
    """A 1x1 convolution ``layer`` on a feature map of the trunk; ``weight`` multiplies what it gives, bias included."""

    feature: str
    layer: str
    weight: float = 1.0


@dataclass(frozen=True)
class Skip:
    """A finer feature map, scored by a 1x1 convolution, cropped to the coarse scores and added to them."""

    feature: str
    """the trunk's feature map, such as ``pool4``"""
    layer: str
    """the 1x1 convolution that scores it, such as ``score_pool4``"""
    crop: int = 0
    """rows and columns dropped at the top and at the left of the scored map"""
    scale: float = 1.0
    """multiplies the feature map before it is scored (the at-once nets' ``scale_pool4``, ``scale_pool3``)"""


@dataclass(frozen=True)
class Stage:
    """One refinement: upsample the scores so far, then add one skip."""

    upsampling: Upsampling
    skip: Skip


@dataclass(frozen=True)
class Decoder:
    """Score the coarsest feature maps, add them, refine stage by stage, upsample to pixels, crop to the image."""

    scores: tuple[Score, ...]
    stages: tuple[Stage, ...]
    final: Upsampling
    crop: int = 0
    """rows and columns dropped at the top and at the left of the last upsampled map"""

    @property
    def upsamplings(self) -> tuple[Upsampling, ...]:
        """All of them, coarsest first."""
        return (*(stage.upsampling for stage in self.stages), self.final)
