"""FCN-32s, FCN-16s, FCN-8s and FCN-8s-at-once on VGG16: the eager reference nets.

Layers, crops and kernels are those of shelhamer/fcn.berkeleyvision.org ``voc-fcn{32s,16s,8s,8s-atonce}/net.py``;
parameter names are those of wkentaro/pytorch-fcn ``torchfcn/models``. Long, Shelhamer, Darrell,
"Fully Convolutional Networks for Semantic Segmentation", sections 3 and 4.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from fcnrt.models.decoder import Decoder, Skip, Stage, Upsample
from fcnrt.models.upsampling import bilinear_weight

BLOCKS: tuple[tuple[int, int], ...] = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and number of 3x3 convolutions of VGG16's five blocks; a 2x2 max-pool closes each."""

FC_CHANNELS = 4096
FC6_KERNEL = 7

PADDING = 100
"""Zeros around the image, taken by conv1_1: with it, every image down to 1x1 gives scores to crop from."""


def scaled(channels: int, width: float) -> int:
    """``channels`` of the full net at a width multiplier, at least one."""
    return max(1, round(channels * width))


class VGGFCN(nn.Module):
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
        self.feature_channels: dict[str, int] = {}
        channels = 3
        for block, (full_channels, depth) in enumerate(BLOCKS, start=1):
            for index in range(1, depth + 1):
                name, out_channels = f"conv{block}_{index}", scaled(full_channels, width)
                padding = PADDING if name == "conv1_1" else 1
                self.add_module(name, nn.Conv2d(channels, out_channels, 3, padding=padding))
                channels = out_channels
            self.feature_channels[f"pool{block}"] = channels
        fc_channels = scaled(FC_CHANNELS, width)
        self.fc6 = nn.Conv2d(channels, fc_channels, FC6_KERNEL)
        self.fc7 = nn.Conv2d(fc_channels, fc_channels, 1)
        self.feature_channels["fc7"] = fc_channels
        self.dropout = nn.Dropout2d()
        self._add_decoder()

    def _add_decoder(self) -> None:
        decoder = self.DECODER
        self._add_score(decoder.score, decoder.feature)
        for stage in decoder.stages:
            self._add_score(stage.skip.score, stage.skip.feature)
        for up in (*(stage.upsample for stage in decoder.stages), decoder.final):
            deconv = nn.ConvTranspose2d(self.num_classes, self.num_classes, up.kernel, stride=up.stride, bias=False)
            deconv.weight.data.copy_(bilinear_weight(self.num_classes, up.kernel))
            self.add_module(up.name, deconv)

    def _add_score(self, name: str, feature: str) -> None:
        score = nn.Conv2d(self.feature_channels[feature], self.num_classes, 1)
        nn.init.zeros_(score.weight)
        nn.init.zeros_(score.bias)  # type: ignore[arg-type]  # it has a bias
        self.add_module(name, score)

    @staticmethod
    def peak_elements(height: int, width: int, width_multiplier: float) -> int:
        """Elements of the largest activations alive at once: conv1_2's input and output, on the padded canvas."""
        canvas = (height + 2 * PADDING - 2) * (width + 2 * PADDING - 2)
        return 2 * scaled(BLOCKS[0][0], width_multiplier) * canvas

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

    def forward(self, x: Tensor) -> Tensor:
        """Normalised image ``[N,3,H,W]`` to logits ``[N,num_classes,H,W]``, for any H and W from 1 up."""
        maps = self.features(x)
        decoder = self.DECODER
        score = self.get_submodule(decoder.score)(maps[decoder.feature])
        for stage in decoder.stages:
            score = self.get_submodule(stage.upsample.name)(score)
            feature = maps[stage.skip.feature]
            if stage.skip.scale != 1.0:
                feature = feature * stage.skip.scale
            skip = self.get_submodule(stage.skip.score)(feature)
            score = score + crop(skip, stage.skip.crop, score.shape[-2], score.shape[-1])
        score = self.get_submodule(decoder.final.name)(score)
        return crop(score, decoder.crop, x.shape[-2], x.shape[-1])


def crop(x: Tensor, offset: int, height: int, width: int) -> Tensor:
    """The window ``[height, width]`` of a map ``[N,C,*,*]`` that begins ``offset`` from the top and the left."""
    return x[..., offset : offset + height, offset : offset + width]


class FCN32s(VGGFCN):
    """One stream, 32x upsampling."""

    DECODER = Decoder("fc7", "score_fr", (), Upsample("upscore", 64, 32), crop=19)


class FCN16s(VGGFCN):
    """FCN-32s with the stride-16 skip from pool4."""

    DECODER = Decoder(
        "fc7",
        "score_fr",
        (Stage(Upsample("upscore2", 4, 2), Skip("pool4", "score_pool4", crop=5)),),
        Upsample("upscore16", 32, 16),
        crop=27,
    )


class FCN8s(VGGFCN):
    """FCN-16s with the stride-8 skip from pool3, trained in stages."""

    DECODER = Decoder(
        "fc7",
        "score_fr",
        (
            Stage(Upsample("upscore2", 4, 2), Skip("pool4", "score_pool4", crop=5)),
            Stage(Upsample("upscore_pool4", 4, 2), Skip("pool3", "score_pool3", crop=9)),
        ),
        Upsample("upscore8", 16, 8),
        crop=31,
    )


class FCN8sAtOnce(VGGFCN):
    """FCN-8s trained in one go, with fixed scales on the skips (the same parameters as FCN-8s)."""

    DECODER = Decoder(
        "fc7",
        "score_fr",
        (
            Stage(Upsample("upscore2", 4, 2), Skip("pool4", "score_pool4", crop=5, scale=0.01)),
            Stage(Upsample("upscore_pool4", 4, 2), Skip("pool3", "score_pool3", crop=9, scale=0.0001)),
        ),
        Upsample("upscore8", 16, 8),
        crop=31,
    )
