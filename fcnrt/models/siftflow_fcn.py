"""The SIFT Flow nets: one trunk, and a decoder each for semantic and for geometric classes.

Source: ``siftflow-fcn{32s,16s,8s}/net.py`` of shelhamer/fcn.berkeleyvision.org (paper section 5, SIFT Flow). Layers and
crops are those of the VOC nets; the names of a head's layers end in ``_sem`` or ``_geo``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from fcnrt.models.decoder import Decoder, Deconvolution, Upsampling
from fcnrt.models.vgg import CaffeVGGFCN, VGG16Trunk
from fcnrt.models.vgg_fcn import FCN8s, FCN16s, FCN32s


class SiftFlowFCN(CaffeVGGFCN):
    """A VGG16 trunk with two decoders, ``sem`` and ``geo``; ``forward`` gives a dict of both.

    Args:
        num_classes: semantic classes.
        width: multiplies every channel count of the trunk; 1.0 is VGG16.
        geometric_classes: horizontal, vertical and sky in the original.
    """

    DECODER: ClassVar[Decoder]
    """Both heads', but for the names' endings."""

    def __init__(self, num_classes: int = 33, *, width: float = 1.0, geometric_classes: int = 3) -> None:
        heads = {head: _with_suffix(self.DECODER, f"_{head}") for head in ("sem", "geo")}
        super().__init__(heads, {"sem": num_classes, "geo": geometric_classes}, VGG16Trunk(width))


class SiftFlowFCN32s(SiftFlowFCN):
    """One stream, 32x upsampling."""

    DECODER = FCN32s.DECODER


class SiftFlowFCN16s(SiftFlowFCN):
    """With the stride-16 skip from pool4."""

    DECODER = FCN16s.DECODER


class SiftFlowFCN8s(SiftFlowFCN):
    """With the skips from pool4 and pool3."""

    DECODER = FCN8s.DECODER


def _with_suffix(decoder: Decoder, suffix: str) -> Decoder:
    """``decoder`` with layers of its own: ``suffix`` ends each of their names."""

    def upsampling(step: Upsampling) -> Upsampling:
        return replace(step, name=step.name + suffix) if isinstance(step, Deconvolution) else step

    return replace(
        decoder,
        scores=tuple(replace(score, layer=score.layer + suffix) for score in decoder.scores),
        stages=tuple(
            replace(
                stage,
                upsampling=upsampling(stage.upsampling),
                skip=replace(stage.skip, layer=stage.skip.layer + suffix),
            )
            for stage in decoder.stages
        ),
        final=upsampling(decoder.final),
    )
