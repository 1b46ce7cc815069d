"""The NYUDv2 nets that see depth: as a fourth channel, or as three in a trunk of their own.

Source: ``nyud-fcn32s-color-d/net.py`` and ``nyud-fcn32s-color-hha/net.py`` of shelhamer/fcn.berkeleyvision.org (paper
section 5, NYUDv2). Padding, upsampling and crop are FCN-32s's. The nets on colour or on HHA alone are FCN-32s itself.
"""

from __future__ import annotations

from dataclasses import replace

from fcnrt.models.decoder import Score
from fcnrt.models.vgg import CaffeVGGFCN, VGG16Trunk
from fcnrt.models.vgg_fcn import FCN32s


class NYUDEarlyFusionFCN32s(CaffeVGGFCN):
    """FCN-32s on four channels: colour (BGR in the original), then log depth.

    The first convolution is named ``conv1_1_bgrd``, the others as in FCN-32s.

    Args:
        num_classes: classes; the original has 40 and no background.
        width: multiplies every channel count of the trunk; 1.0 is VGG16.
    """

    def __init__(self, num_classes: int = 40, *, width: float = 1.0) -> None:
        trunk = VGG16Trunk(width, in_channels=4, first="conv1_1_bgrd")
        super().__init__({"out": FCN32s.DECODER}, {"out": num_classes}, trunk)


class NYUDLateFusionFCN32s(CaffeVGGFCN):
    """A trunk for colour and one for HHA (disparity, height, angle); the mean of their scores is upsampled.

    Takes six channels: colour (BGR in the original), then HHA. Layers are named as in FCN-32s, with ``color`` and
    ``hha`` at the end of those of the trunks and their score layers.

    Args:
        num_classes: classes; the original has 40 and no background.
        width: multiplies every channel count of the trunks; 1.0 is VGG16.
    """

    def __init__(self, num_classes: int = 40, *, width: float = 1.0) -> None:
        trunks = [VGG16Trunk(width, suffix=modality) for modality in ("color", "hha")]
        scores = tuple(Score(f"fc7{trunk.suffix}", f"score_fr{trunk.suffix}", weight=0.5) for trunk in trunks)
        super().__init__({"out": replace(FCN32s.DECODER, scores=scores)}, {"out": num_classes}, *trunks)
