"""FCN-GoogLeNet on torchvision's GoogLeNet.

Long, Shelhamer, Darrell, section 4.1 and table 1: the final average pooling and the classifier go, a 1x1 convolution
scores, one transposed convolution upsamples 32 times, and only the final loss layer is used (no auxiliary heads). The
authors published neither this net nor its padding and crop, so those are our own definition. The trunk is
torchvision's ``models/googlenet.py``: batch norm, 3x3 convolutions where the paper of GoogLeNet has 5x5, pools that
round up, and a fourth pool of 2x2.

As in the authors' other nets there are 100 zeros around the image, so that every size from 1x1 up is valid and every
pixel lies between scores. By the rule in ``fcnrt/models/alexnet_fcn.py``, with ``P`` zeros, its first pixel is at

    conv1    (P - 3) / 2                            kernel 7, stride 2
    pool1    (P - 3) / 4 - 1/2                      kernel 3, stride 2
    pool2    (P - 3) / 8 - 1/4 - 1/2
    pool3    (P - 3) / 16 - 1/8 - 1/4 - 1/2
    pool4    (P - 3) / 32 - 1/16 - 1/8 - 1/4 - 1/4  kernel 2, stride 2; the inception blocks move nothing
    upscore  (P - 3) - 22 + 31 = P + 6              kernel 63, stride 32

of the respective map: the crop is 106, and 9 with the classifier's own padding of 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcnrt.models.decoder import Decoder, Deconvolution, Score
from fcnrt.models.fcn import FCN
from fcnrt.models.layers import add_decoder, check_size, scaled

PADDING = 100
"""Zeros around the image, taken by conv1."""

LEAST_CANVAS = 21
"""Pixels, zeros included, that leave an entry after all poolings."""

STEM_CHANNELS: tuple[int, ...] = (64, 64, 192)
"""Of conv1 (7x7, stride 2), conv2 (1x1) and conv3 (3x3)."""

Inception = tuple[int, int, int, int, int, int]
"""Channels of a block: 1x1; before and after the 3x3; before and after the second 3x3; after the pool."""

INCEPTIONS: dict[str, Inception] = {
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}

POOLED = {"inception3b": 3, "inception4e": 2}
"""Kernels of the pools, with stride 2, behind blocks."""


class BasicConvolution(nn.Module):
    """``conv`` without bias, batch norm ``bn``, ReLU."""

    def __init__(self, channels: int, out_channels: int, kernel: int, *, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class InceptionBlock(nn.Module):
    """Four branches over the same map, concatenated: 1x1, 3x3, 3x3 again, and 3x3 max-pool."""

    def __init__(self, channels: int, inception: Inception) -> None:
        super().__init__()
        single, reduced, wide, reduced_again, wide_again, pooled = inception
        self.branch1 = BasicConvolution(channels, single, 1)
        self.branch2 = nn.Sequential(
            BasicConvolution(channels, reduced, 1), BasicConvolution(reduced, wide, 3, padding=1)
        )
        self.branch3 = nn.Sequential(
            BasicConvolution(channels, reduced_again, 1), BasicConvolution(reduced_again, wide_again, 3, padding=1)
        )
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), BasicConvolution(channels, pooled, 1))
        self.out_channels = single + wide + wide_again + pooled

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)), dim=1)


class GoogLeNetFCN(FCN):
    """GoogLeNet up to inception5b, scores, and 32x upsampling.

    Parameter names are torchvision's for the trunk (``conv1.conv``, ``conv1.bn``, ``inception3a.branch2.0.conv``, …)
    and Caffe's for ``score_fr`` and ``upscore``. The score layer starts at zero and the transposed convolution at
    bilinear interpolation; the trunk has torch's default initialisation.

    torchvision's published weights want RGB in -1 … 1 (``transform_input``: mean and deviation 0.5).

    Args:
        num_classes: classes, background included.
        width: multiplies every channel count of the trunk.
        padding: zeros around the image. With fewer than 10, images under ``21 - 2 * padding`` pixels are refused;
            with fewer than 26, pixels at the border have scores on one side only.
    """

    def __init__(self, num_classes: int = 21, *, width: float = 1.0, padding: int = PADDING) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.width = width
        self.padding = padding
        decoder = Decoder((Score("inception5b", "score_fr"),), (), Deconvolution("upscore", 63, 32), crop=padding + 6)
        self.heads = {"out": decoder}
        self.head_classes = {"out": num_classes}
        first, second, channels = (scaled(full_channels, width) for full_channels in STEM_CHANNELS)
        self.conv1 = BasicConvolution(self.in_channels, first, 7, stride=2, padding=padding)
        self.conv2 = BasicConvolution(first, second, 1)
        self.conv3 = BasicConvolution(second, channels, 3, padding=1)
        for name, inception in INCEPTIONS.items():
            a, b, c, d, e, f = (scaled(full_channels, width) for full_channels in inception)
            block = InceptionBlock(channels, (a, b, c, d, e, f))
            self.add_module(name, block)
            channels = block.out_channels
        self.dropout = nn.Dropout2d(0.2)
        add_decoder(self, decoder, {"inception5b": channels}, num_classes)

    def normalized_pairs(self) -> tuple[tuple[str, str], ...]:
        """Each convolution that a batch norm follows, and that batch norm."""
        return tuple(
            (f"{name}.conv", f"{name}.bn")
            for name, module in self.named_modules()
            if isinstance(module, BasicConvolution)
        )

    def peak_elements(self, height: int, width: int) -> int:
        """conv1's output, before and after batch norm."""
        rows, columns = ((side + 2 * self.padding - 7) // 2 + 1 for side in (height, width))
        return 2 * scaled(STEM_CHANNELS[0], self.width) * rows * columns

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """The trunk: image ``[N,3,H,W]`` to ``inception5b`` (stride 32).

        Raises:
            InputError: so little padding that nothing is left of this image.
        """
        check_size(x, LEAST_CANVAS - 2 * self.padding, "its poolings leave nothing")
        x = F.max_pool2d(self.conv1(x), 3, stride=2, ceil_mode=True)
        x = F.max_pool2d(self.conv3(self.conv2(x)), 3, stride=2, ceil_mode=True)
        for name in INCEPTIONS:
            x = self.get_submodule(name)(x)
            if name in POOLED:
                x = F.max_pool2d(x, POOLED[name], stride=2, ceil_mode=True)
        return {"inception5b": self.dropout(x)}
