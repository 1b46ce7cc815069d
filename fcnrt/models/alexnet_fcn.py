"""FCN-AlexNet on CaffeNet, as the authors published it, and on torchvision's AlexNet.

CaffeNet: ``voc-fcn-alexnet/net.py`` of shelhamer/fcn.berkeleyvision.org. Long, Shelhamer, Darrell, section 4.1, is the
source for both: the classifier's layers become convolutions, a 1x1 convolution scores, and one transposed convolution
upsamples 32 times. Parameter names are Caffe's: ``conv1`` … ``conv5``, ``fc6``, ``fc7``, ``score_fr``, ``upscore``.

Where the crop comes from (Caffe's ``coord_map.py``). A layer with kernel ``k``, stride ``s`` and padding ``p`` puts
what was at position ``x`` of its input at ``(x + p - (k - 1) / 2) / s`` of its output, a transposed convolution at
``s * x + (k - 1) / 2``. With ``P`` zeros around the image, its first pixel is at

    conv1   (P - 5) / 4                     kernel 11, stride 4
    pool1   (P - 5) / 8 - 1/2               kernel 3, stride 2; the 5x5 and 3x3 convolutions move nothing
    pool2   (P - 5) / 16 - 1/4 - 1/2
    pool5   (P - 5) / 32 - 1/8 - 1/4 - 1/2
    fc6     (P - 5) / 32 - 7/8 - 5/2        kernel 6, no padding
    upscore (P - 5) - 28 - 80 + 31 = P - 82 kernel 63, stride 32

of the respective map, so ``P - 82`` rows and columns are dropped: 18 with the authors' 100 zeros. A kernel of 64 would
put it between two pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcnrt.models.decoder import Decoder, Deconvolution, Resize, Score
from fcnrt.models.fcn import FCN
from fcnrt.models.layers import add_decoder, check_size, scaled

FC_CHANNELS = 4096
FC6_KERNEL = 6

PADDING = 100
"""Zeros around the image, taken by conv1."""

LEAST_ALIGNED_PADDING = 99
"""With fewer, fc6 finds nothing in an image of 1x1: it reads six entries of pool5, which take 199 pixels."""
LEAST_CANVAS = 199

CROP_FREE_PADDING = 82
"""With as many zeros around it, the image's first pixel is the upsampled scores' first (see above)."""


@dataclass(frozen=True)
class Convolution:
    """A convolution of AlexNet with ReLU, and what follows it."""

    name: str
    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    pooled: bool = False
    """by a max-pool of 3x3 with stride 2"""
    normalized: bool = False
    """by local response normalisation, after the pool"""


class AlexNet(FCN):
    """The trunk that a subclass lists, fc6 and fc7 as convolutions, and 32x upsampling.

    Score layers start at zero and the transposed convolution at bilinear interpolation; the trunk has torch's default
    initialisation.

    Args:
        num_classes: classes, background included.
        width: multiplies every channel count of the trunk.
        padding: zeros around the image. With 99 or more, every size from 1x1 up is valid, and the crop aligns scores
            with pixels. With fewer, such as the classifier's own, the image's border gets no scores of its own: then
            they are stretched over the image (bilinear, half-pixel), and images under ``199 - 2 * padding`` pixels
            are refused.
    """

    CONVOLUTIONS: ClassVar[tuple[Convolution, ...]]

    def __init__(self, num_classes: int = 21, *, width: float = 1.0, padding: int = PADDING) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.width = width
        self.padding = padding
        decoder = Decoder((Score("fc7", "score_fr"),), (), Resize("half_pixel"))
        if padding >= LEAST_ALIGNED_PADDING:
            decoder = Decoder(decoder.scores, (), Deconvolution("upscore", 63, 32), padding - CROP_FREE_PADDING)
        self.heads = {"out": decoder}
        self.head_classes = {"out": num_classes}
        channels = self.in_channels
        for layer in self.CONVOLUTIONS:
            border = padding if layer is self.CONVOLUTIONS[0] else layer.padding
            out_channels = _even(layer.channels, width)
            convolution = nn.Conv2d(
                channels, out_channels, layer.kernel, stride=layer.stride, padding=border, groups=layer.groups
            )
            self.add_module(layer.name, convolution)
            channels = out_channels
        fc_channels = scaled(FC_CHANNELS, width)
        self.fc6 = nn.Conv2d(channels, fc_channels, FC6_KERNEL)
        self.fc7 = nn.Conv2d(fc_channels, fc_channels, 1)
        self.dropout = nn.Dropout()
        add_decoder(self, decoder, {"fc7": fc_channels}, num_classes)

    def peak_elements(self, height: int, width: int) -> int:
        """conv1's output, and as much again while it is pooled and normalised."""
        first = self.CONVOLUTIONS[0]
        rows, columns = ((side + 2 * self.padding - first.kernel) // first.stride + 1 for side in (height, width))
        return 2 * _even(first.channels, self.width) * rows * columns

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """The trunk: image ``[N,3,H,W]`` to ``fc7`` (stride 32).

        Raises:
            InputError: so little padding that nothing is left of this image for fc6.
        """
        check_size(x, LEAST_CANVAS - 2 * self.padding, "its convolutions and poolings leave nothing")
        for layer in self.CONVOLUTIONS:
            x = F.relu(self.get_submodule(layer.name)(x), inplace=True)
            if layer.pooled:
                # Caffe's pooling rounds up; with floor, some sizes would leave too little to crop.
                x = F.max_pool2d(x, 3, stride=2, ceil_mode=True)
            if layer.normalized:
                x = normalize_local_response(x)
        x = self.dropout(F.relu(self.fc6(x), inplace=True))
        return {"fc7": self.dropout(F.relu(self.fc7(x), inplace=True))}


class CaffeNetFCN(AlexNet):
    """voc-fcn-alexnet: groups, and local response normalisation after the pools (AlexNet proper has it before)."""

    CONVOLUTIONS = (
        Convolution("conv1", 96, 11, stride=4, pooled=True, normalized=True),
        Convolution("conv2", 256, 5, padding=2, groups=2, pooled=True, normalized=True),
        Convolution("conv3", 384, 3, padding=1),
        Convolution("conv4", 384, 3, padding=1, groups=2),
        Convolution("conv5", 256, 3, padding=1, groups=2, pooled=True),
    )


class AlexNetFCN(AlexNet):
    """torchvision's AlexNet (neither groups nor normalisation), made an FCN as the authors made theirs.

    The authors have none on this trunk, so this is our own definition: kernels, strides and pools are CaffeNet's, and
    with them its 100 zeros around the image, its pools that round up (torchvision's round down) and its crop of 18.
    torchvision's names are ``features.{0,3,6,8,10}`` for ``conv1`` … ``conv5``, and ``classifier.{1,4}``, as
    matrices, for ``fc6`` and ``fc7``; its own padding is 2.
    """

    CONVOLUTIONS = (
        Convolution("conv1", 64, 11, stride=4, pooled=True),
        Convolution("conv2", 192, 5, padding=2, pooled=True),
        Convolution("conv3", 384, 3, padding=1),
        Convolution("conv4", 256, 3, padding=1),
        Convolution("conv5", 256, 3, padding=1, pooled=True),
    )


def normalize_local_response(x: Tensor) -> Tensor:
    """Caffe's LRN across channels: ``x / (1 + 1e-4 * mean of x squared over 5 channels) ** 0.75``.

    In float32 at least: Caffe's activations reach hundreds, and their squares leave float16.
    """
    precise = x if x.dtype == torch.float64 else x.float()
    return F.local_response_norm(precise, 5, alpha=1e-4, beta=0.75, k=1.0).to(x.dtype)


def _even(channels: int, width: float) -> int:
    """``scaled`` to an even number, so that two groups share it."""
    return 2 * scaled(channels // 2, width)
