"""FCN-32s, FCN-16s and FCN-8s of Tramac/awesome-semantic-segmentation-pytorch, and of its relatives after GluonCV.

Source: ``core/models/fcn.py``. torchvision's VGG16 without fully connected layers (padding 1, pools round down), a head
of one 3x3 convolution, skips as in the paper, and bilinear interpolation with ``align_corners=True`` throughout.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from fcnrt.models.decoder import Decoder, Resize, Score, Skip, Stage
from fcnrt.models.fcn import FCN, score_layer
from fcnrt.models.layers import check_size, scaled
from fcnrt.models.vgg import CHANNELS, DEPTHS, STRIDE, run_vgg_features, vgg_features, vgg_peak_elements

STRETCH = Resize("align_corners")


class TramacHead(nn.Module):
    """``block``: 3x3 convolution to a quarter of the channels, batch norm, ReLU, dropout, 1x1 score."""

    def __init__(self, channels: int, inner_channels: int, num_classes: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(channels, inner_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner_channels),
            nn.ReLU(inplace=True),
            nn.Dropout(0.1),
            score_layer(inner_channels, num_classes),
        )

    def hidden(self, x: Tensor) -> Tensor:
        """pool5 ``[N,C,h,w]`` to what the last layer scores."""
        *layers, _score = self.block
        for layer in layers:
            x = layer(x)
        return x


class TramacFCN(FCN):
    """torchvision's VGG16, and the head and skips that a subclass names.

    Parameter names are the program's: ``pretrained.N`` as in ``vgg16().features``, ``head.block.{0,1,4}``,
    ``score_pool4``, ``score_pool3``. Left out are the copies that its files hold of the trunk under ``pool3``,
    ``pool4`` and ``pool5``, and the auxiliary head ``auxlayer``, which only training reads.

    Args:
        num_classes: classes, background included.
        width: multiplies every channel count of the trunk and the head; 1.0 is VGG16.
    """

    SKIPS: ClassVar[tuple[str, ...]]
    """Feature maps that refine the scores, coarsest first."""

    def __init__(self, num_classes: int = 21, *, width: float = 1.0) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.width = width
        stages = tuple(Stage(STRETCH, Skip(pool, f"score_{pool}")) for pool in self.SKIPS)
        self.heads = {"out": Decoder((Score("head", "head.block.4"),), stages, STRETCH)}
        self.head_classes = {"out": num_classes}
        self.pretrained = vgg_features(DEPTHS["vgg16"], width)
        channels = {f"pool{block}": scaled(full, width) for block, full in enumerate(CHANNELS, start=1)}
        self.head = TramacHead(channels["pool5"], scaled(CHANNELS[-1] // 4, width), num_classes)
        for pool in self.SKIPS:
            self.add_module(f"score_{pool}", score_layer(channels[pool], num_classes))

    def normalized_pairs(self) -> tuple[tuple[str, str], ...]:
        """Each convolution that a batch norm follows, and that batch norm."""
        return (("head.block.0", "head.block.1"),)

    def peak_elements(self, height: int, width: int) -> int:
        """conv1_2's input and output."""
        return vgg_peak_elements((height, width), self.width)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Image ``[N,3,H,W]`` to ``head`` (stride 32) and the skips' maps.

        Raises:
            InputError: a side is under 32 pixels, which five pools that round down leave nothing of.
        """
        check_size(x, STRIDE, "its five poolings leave nothing")
        kept = (*self.SKIPS, "pool5")
        maps = {name: feature for name, feature in run_vgg_features(self.pretrained, x) if name in kept}
        maps["head"] = self.head.hidden(maps.pop("pool5"))
        return maps


class TramacFCN32s(TramacFCN):
    """One stream."""

    SKIPS = ()


class TramacFCN16s(TramacFCN):
    """With the stride-16 skip from pool4."""

    SKIPS = ("pool4",)


class TramacFCN8s(TramacFCN):
    """With the skips from pool4 and pool3."""

    SKIPS = ("pool4", "pool3")
