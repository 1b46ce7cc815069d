"""FCN-32s, FCN-16s, FCN-8s and FCN-8s-at-once on VGG16: the eager reference nets.

Layers, crops and kernels are those of shelhamer/fcn.berkeleyvision.org ``voc-fcn{32s,16s,8s,8s-atonce}/net.py``;
parameter names are those of wkentaro/pytorch-fcn ``torchfcn/models``. Long, Shelhamer, Darrell,
"Fully Convolutional Networks for Semantic Segmentation", sections 3 and 4.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from fcnrt.models.decoder import Decoder, Deconvolution, Score, Skip, Stage
from fcnrt.models.fcn import FCN, bilinear_deconvolution, score_layer

BLOCKS: tuple[tuple[int, int], ...] = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and number of 3x3 convolutions of VGG16's five blocks; a 2x2 max-pool closes each."""

FC_CHANNELS = 4096
FC6_KERNEL = 7

PADDING = 100
"""Zeros around the image, taken by conv1_1: with it, every image down to 1x1 gives scores to crop from."""


def scaled(channels: int, width: float) -> int:
    """``channels`` of the full net at a width multiplier, at least one."""
    return max(1, round(channels * width))


class VGGFCN(FCN):
    """A VGG16 trunk, made fully convolutional, and the decoder that a subclass names.

    Args:
        num_classes: classes, background included.
        width: multiplies every channel count of the trunk; 1.0 is VGG16.

    Score layers start at zero and transposed convolutions at bilinear interpolation, as the paper trains them;
    the trunk has torch's default initialisation.
    """

    DECODER: ClassVar[Decoder]

    def __init__(self, num_classes: int = 21, *, width: float = 1.0) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.width = width
        self.heads = {"out": self.DECODER}
        self.head_classes = {"out": num_classes}
        feature_channels: dict[str, int] = {}
        channels = self.in_channels
        for block, (full_channels, depth) in enumerate(BLOCKS, start=1):
            for index in range(1, depth + 1):
                name, out_channels = f"conv{block}_{index}", scaled(full_channels, width)
                padding = PADDING if name == "conv1_1" else 1
                self.add_module(name, nn.Conv2d(channels, out_channels, 3, padding=padding))
                channels = out_channels
            feature_channels[f"pool{block}"] = channels
        fc_channels = feature_channels["fc7"] = scaled(FC_CHANNELS, width)
        self.fc6 = nn.Conv2d(channels, fc_channels, FC6_KERNEL)
        self.fc7 = nn.Conv2d(fc_channels, fc_channels, 1)
        self.dropout = nn.Dropout2d()
        for score in self.DECODER.scores:
            self.add_module(score.layer, score_layer(feature_channels[score.feature], num_classes))
        for stage in self.DECODER.stages:
            self.add_module(stage.skip.layer, score_layer(feature_channels[stage.skip.feature], num_classes))
        for upsampling in self.DECODER.upsamplings:
            if isinstance(upsampling, Deconvolution):
                self.add_module(upsampling.name, bilinear_deconvolution(num_classes, upsampling))

    def peak_elements(self, height: int, width: int) -> int:
        """conv1_2's input and output, on the padded canvas."""
        canvas = (height + 2 * PADDING - 2) * (width + 2 * PADDING - 2)
        return 2 * scaled(BLOCKS[0][0], self.width) * canvas

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """The trunk: image ``[N,3,H,W]`` to ``pool1`` … ``pool5`` (strides 2 … 32) and ``fc7`` (stride 32)."""
        maps: dict[str, Tensor] = {}
        for block, (_, depth) in enumerate(BLOCKS, start=1):
            for index in range(1, depth + 1):
                x = F.relu(self.get_submodule(f"conv{block}_{index}")(x), inplace=True)
            # Caffe's pooling rounds up; with floor, some sizes would leave too little to crop.
            x = maps[f"pool{block}"] = F.max_pool2d(x, 2, stride=2, ceil_mode=True)
        x = self.dropout(F.relu(self.fc6(x), inplace=True))
        maps["fc7"] = self.dropout(F.relu(self.fc7(x), inplace=True))
        return maps


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
