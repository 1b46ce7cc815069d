"""FCN-32s, FCN-16s, FCN-8s and FCN-8s-at-once on VGG16: the eager reference nets.

Layers, crops and kernels are those of shelhamer/fcn.berkeleyvision.org ``voc-fcn{32s,16s,8s,8s-atonce}/net.py``;
parameter names are those of wkentaro/pytorch-fcn ``torchfcn/models``. Long, Shelhamer, Darrell,
"Fully Convolutional Networks for Semantic Segmentation", sections 3 and 4.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from torch import Tensor

from fcnrt.models.decoder import Decoder, Deconvolution, Resize, Score, Skip, Stage
from fcnrt.models.layers import check_size
from fcnrt.models.vgg import PADDING, CaffeVGGFCN, VGG16Trunk

LEAST_CANVAS = 195
"""Pixels, zeros included, that leave fc6 the seven entries of pool5 that it reads."""

LEAST_ALIGNED_PADDING = 97
"""With fewer zeros around it, an image of 1x1 leaves fc6 nothing."""


class VGGFCN(CaffeVGGFCN):
    """A VGG16 trunk, made fully convolutional, and the decoder that a subclass names.

    Args:
        num_classes: classes, background included.
        width: multiplies every channel count of the trunk; 1.0 is VGG16.
        padding: zeros around the image. With 97 or more, every size from 1x1 up is valid and the crop aligns scores
            with pixels. With fewer, such as the classifier's own 1, the image's border gets no scores of its own:
            then the last scores are stretched over the image (bilinear, half-pixel), and images under
            ``195 - 2 * padding`` pixels are refused.

    Score layers start at zero and transposed convolutions at bilinear interpolation, as the paper trains them;
    the trunk has torch's default initialisation.
    """

    DECODER: ClassVar[Decoder]

    def __init__(self, num_classes: int = 21, *, width: float = 1.0, padding: int = PADDING) -> None:
        decoder = self.DECODER
        if padding >= LEAST_ALIGNED_PADDING:
            # The padding moves the image, and nothing else, on every map: so it moves the last crop alone.
            decoder = dataclasses.replace(decoder, crop=decoder.crop + padding - PADDING)
        else:
            decoder = dataclasses.replace(decoder, final=Resize("half_pixel"), crop=0)
        super().__init__({"out": decoder}, {"out": num_classes}, VGG16Trunk(width=width, padding=padding))

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """The trunk: image ``[N,3,H,W]`` to the maps that the decoder names, of ``pool3``, ``pool4`` and ``fc7``.

        Raises:
            InputError: so little padding that nothing is left of this image for fc6.
        """
        check_size(x, LEAST_CANVAS - 2 * self.trunks[0].padding, "its poolings leave fc6 nothing to read")
        return super().features(x)


_SCORE_FR = (Score("fc7", "score_fr"),)


class FCN32s(VGGFCN):
    """One stream, 32x upsampling."""

    DECODER = Decoder(_SCORE_FR, (), Deconvolution("upscore", 64, 32), crop=19)


class FCN16s(VGGFCN):
    """FCN-32s with the stride-16 skip from pool4."""

    DECODER = Decoder(
        _SCORE_FR,
        (Stage(Deconvolution("upscore2", 4, 2), Skip("pool4", "score_pool4", crop=5)),),
        Deconvolution("upscore16", 32, 16),
        crop=27,
    )


class FCN8s(VGGFCN):
    """FCN-16s with the stride-8 skip from pool3, trained in stages."""

    DECODER = Decoder(
        _SCORE_FR,
        (
            Stage(Deconvolution("upscore2", 4, 2), Skip("pool4", "score_pool4", crop=5)),
            Stage(Deconvolution("upscore_pool4", 4, 2), Skip("pool3", "score_pool3", crop=9)),
        ),
        Deconvolution("upscore8", 16, 8),
        crop=31,
    )


class FCN8sAtOnce(VGGFCN):
    """FCN-8s trained in one go, with fixed scales on the skips (the same parameters as FCN-8s)."""

    DECODER = Decoder(
        _SCORE_FR,
        (
            Stage(Deconvolution("upscore2", 4, 2), Skip("pool4", "score_pool4", crop=5, scale=0.01)),
            Stage(Deconvolution("upscore_pool4", 4, 2), Skip("pool3", "score_pool3", crop=9, scale=0.0001)),
        ),
        Deconvolution("upscore8", 16, 8),
        crop=31,
    )
