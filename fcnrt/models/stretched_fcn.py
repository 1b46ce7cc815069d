"""torchvision's classifiers made fully convolutional the short way: scores of stride 32, stretched over the image.

Nothing is padded beyond what the classifiers pad themselves, pools round as theirs do, there are no skips, and
bilinear interpolation takes the scores to the image's size. Sources: ``segmentation/networks/FCN32.py`` of
andrewssobral/deep-learning-pytorch, which tutorials copied, and ``model/FCN_previous.py`` of a course's assignment
(AI502), whose fc6 is 1x1.
"""

from __future__ import annotations

from typing import ClassVar, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from fcnrt.errors import InputError
from fcnrt.models.decoder import Decoder, Interpolation, Resize, Score
from fcnrt.models.fcn import FCN
from fcnrt.models.googlenet_fcn import GoogLeNetFCN
from fcnrt.models.layers import add_decoder, check_size, scaled
from fcnrt.models.vgg import CHANNELS, DEPTHS, FC6_KERNEL, FC_CHANNELS, STRIDE, vgg_features, vgg_peak_elements

ALEXNET_CHANNELS: tuple[int, ...] = (64, 192, 384, 256, 256)

GOOGLENET_PADDING = 3
"""torchvision's own, of conv1."""


class StretchedFCN(FCN):
    """A trunk, fc6 and fc7 as convolutions, scores, and interpolation to the image.

    Layers are named ``trunk.N`` as in torchvision's ``features``, and ``fc6``, ``fc7``, ``score_fr``. The score layer
    starts at zero, the rest as torch has it.

    Args:
        num_classes: classes, background included.
        trunk: layers to run one after the other.
        channels: of its last map.
        width: multiplies fc6's and fc7's channels.
        rule: how scores are stretched.

    Raises:
        InputError: no such rule.
    """

    FC6: ClassVar[int] = 1
    """fc6's kernel, which nothing is padded for."""
    LEAST: ClassVar[int]
    """Pixels of a side that leave fc6 something to read."""

    def __init__(
        self, num_classes: int, trunk: nn.Sequential, channels: int, width: float, rule: Interpolation
    ) -> None:
        if rule not in get_args(Interpolation):
            raise InputError(f"unknown rule {rule!r}; expected {', '.join(map(repr, get_args(Interpolation)))}")
        super().__init__()
        self.num_classes = num_classes
        self.width = width
        decoder = Decoder((Score("fc7", "score_fr"),), (), Resize(rule))
        self.heads = {"out": decoder}
        self.head_classes = {"out": num_classes}
        self.trunk = trunk
        fc_channels = scaled(FC_CHANNELS, width)
        self.fc6 = nn.Conv2d(channels, fc_channels, self.FC6)
        self.fc7 = nn.Conv2d(fc_channels, fc_channels, 1)
        self.dropout = nn.Dropout()
        add_decoder(self, decoder, {"fc7": fc_channels}, num_classes)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Image ``[N,3,H,W]`` to ``fc7`` (stride 32).

        Raises:
            InputError: an image that the trunk leaves nothing of for fc6.
        """
        check_size(x, self.LEAST, "its poolings leave fc6 nothing to read")
        x = self.dropout(F.relu(self.fc6(self.trunk(x)), inplace=True))
        return {"fc7": self.dropout(F.relu(self.fc7(x), inplace=True))}


class _StretchedVGG16(StretchedFCN):
    def __init__(self, num_classes: int, width: float, rule: Interpolation) -> None:
        trunk = vgg_features(DEPTHS["vgg16"], width)
        super().__init__(num_classes, trunk, scaled(CHANNELS[-1], width), width, rule)

    def peak_elements(self, height: int, width: int) -> int:
        """conv1_2's input and output."""
        return vgg_peak_elements((height, width), self.width)


class AndrewssobralFCN32s(_StretchedVGG16):
    """``FCN32`` of andrewssobral/deep-learning-pytorch, and of the many copies: VGG16, whose fc6 is 7x7.

    Args:
        num_classes: classes, background included.
        width: multiplies every channel count of the trunk; 1.0 is VGG16.
        rule: how scores are stretched, which no file says. The original has ``"align_corners"``
            (``F.upsample_bilinear``); copies with ``F.interpolate(…, mode="bilinear")`` have ``"half_pixel"``.

    Raises:
        InputError: no such rule.
    """

    FC6 = FC6_KERNEL
    LEAST = FC6_KERNEL * STRIDE

    def __init__(self, num_classes: int = 21, *, width: float = 1.0, rule: Interpolation = "align_corners") -> None:
        super().__init__(num_classes, width, rule)


class CourseVGG16FCN(_StretchedVGG16):
    """``FCN_VGG16`` of the course: fc6 is 1x1.

    Args:
        num_classes: classes, background included.
        width: multiplies every channel count of the trunk; 1.0 is VGG16.
    """

    LEAST = STRIDE

    def __init__(self, num_classes: int = 21, *, width: float = 1.0) -> None:
        super().__init__(num_classes, width, "half_pixel")


class CourseAlexNetFCN(StretchedFCN):
    """``FCN_AlexNet`` of the course: torchvision's AlexNet, pools that round down, and a 1x1 fc6.

    Args:
        num_classes: classes, background included.
        width: multiplies every channel count of the trunk; 1.0 is AlexNet.
    """

    LEAST = 63

    def __init__(self, num_classes: int = 21, *, width: float = 1.0) -> None:
        channels = [3, *(scaled(full, width) for full in ALEXNET_CHANNELS)]
        trunk = nn.Sequential(
            nn.Conv2d(channels[0], channels[1], 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(channels[1], channels[2], 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(channels[2], channels[3], 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels[3], channels[4], 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels[4], channels[5], 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
        )
        super().__init__(num_classes, trunk, channels[-1], width, "half_pixel")

    def peak_elements(self, height: int, width: int) -> int:
        """conv1's output, and what is left of it after a pool."""
        return 2 * scaled(ALEXNET_CHANNELS[0], self.width) * (height // 4 + 1) * (width // 4 + 1)


class CourseGoogLeNetFCN(GoogLeNetFCN):
    """``FCN_GoogLeNet`` of the course: torchvision's trunk with its own padding, and interpolation.

    Parameter names are those of :class:`GoogLeNetFCN`. Images under 15 pixels are refused.

    Args:
        num_classes: classes, background included.
        width: multiplies every channel count of the trunk; 1.0 is GoogLeNet.
    """

    def __init__(self, num_classes: int = 21, *, width: float = 1.0) -> None:
        super().__init__(num_classes, width=width, padding=GOOGLENET_PADDING)
        self.heads = {"out": Decoder(self.heads["out"].scores, (), Resize("half_pixel"))}
        del self.upscore
