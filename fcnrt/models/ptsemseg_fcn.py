"""FCN-32s, FCN-16s and FCN-8s of meetps/pytorch-semseg, where no transposed convolution was trained.

Source: ``ptsemseg/models/fcn.py``. The trunk is that of the authors' nets, padding of 100 pixels included, but nothing
is cropped: scores are stretched over the skip's map, and at last over the image, although both have a border that the
image does not. That misplaces them, and the weights were trained with it. (Files with ``upscore2``, ``upscore4`` and
``upscore8`` are the authors' FCN-8s.)
"""

from __future__ import annotations

from typing import ClassVar, get_args

from fcnrt.errors import InputError
from fcnrt.models.decoder import Decoder, Interpolation, Resize, Score, Skip, Stage
from fcnrt.models.vgg import CaffeVGGFCN, VGG16Trunk


class PtsemsegFCN(CaffeVGGFCN):
    """A VGG16 trunk with padding, and scores that are stretched; a subclass names the skips.

    Parameter names are those of the authors' nets: ``conv1_1`` … ``conv5_3``, ``fc6``, ``fc7``, ``score_fr``,
    ``score_pool4``, ``score_pool3``.

    Args:
        num_classes: classes, background included.
        width: multiplies every channel count of the trunk; 1.0 is VGG16.
        rule: how scores are stretched, which no file says. The program had ``"align_corners"`` until October 2018
            (``F.upsample_bilinear``), and has ``"nearest"`` since (``F.upsample`` without a mode).

    Raises:
        InputError: no such rule.
    """

    SKIPS: ClassVar[tuple[str, ...]]
    """Feature maps that refine the scores, coarsest first."""

    def __init__(self, num_classes: int = 21, *, width: float = 1.0, rule: Interpolation = "align_corners") -> None:
        if rule not in get_args(Interpolation):
            raise InputError(f"unknown rule {rule!r}; expected {', '.join(map(repr, get_args(Interpolation)))}")
        stretch = Resize(rule)
        stages = tuple(Stage(stretch, Skip(pool, f"score_{pool}")) for pool in self.SKIPS)
        decoder = Decoder((Score("fc7", "score_fr"),), stages, stretch)
        super().__init__({"out": decoder}, {"out": num_classes}, VGG16Trunk(width))


class PtsemsegFCN32s(PtsemsegFCN):
    """One stream."""

    SKIPS = ()


class PtsemsegFCN16s(PtsemsegFCN):
    """With the stride-16 skip from pool4."""

    SKIPS = ("pool4",)


class PtsemsegFCN8s(PtsemsegFCN):
    """With the skips from pool4 and pool3, trained without ``learned_billinear`` (its spelling)."""

    SKIPS = ("pool4", "pool3")
