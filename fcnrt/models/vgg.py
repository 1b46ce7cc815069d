"""VGG trunks: VGG16 as the authors' FCNs have it, in Caffe's names, and VGG11 to VGG19 as torchvision has them.

Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", table 1. The authors' FCNs
(shelhamer/fcn.berkeleyvision.org ``*/net.py``) pad the image by 100 pixels, pool with ceil as all of Caffe does, and
turn the fully connected layers into convolutions (Long, Shelhamer, Darrell, section 3.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from fcnrt.models.decoder import Decoder
from fcnrt.models.fcn import FCN
from fcnrt.models.layers import add_decoder, decoded_features, scaled

CHANNELS: tuple[int, ...] = (64, 128, 256, 512, 512)
"""Of the five blocks of 3x3 convolutions; a 2x2 max-pool closes each."""

DEPTHS: Mapping[str, tuple[int, ...]] = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
"""Convolutions in each block."""

FC_CHANNELS = 4096
FC6_KERNEL = 7

PADDING = 100
"""Zeros around the image, taken by the first convolution: with it, every image down to 1x1 gives scores to crop from."""


@dataclass(frozen=True)
class VGG16Trunk:
    """VGG16 with fc6 and fc7 as convolutions: its layers by Caffe's names, and how they follow each other."""

    width: float = 1.0
    """multiplies every channel count; 1.0 is VGG16"""
    in_channels: int = 3
    first: str = "conv1_1"
    """name of the first convolution"""
    suffix: str = ""
    """ends every name, of layers and of feature maps"""
    padding: int = PADDING
    """zeros around the image, taken by the first convolution"""

    def layers(self) -> Iterator[tuple[str, nn.Conv2d]]:
        """Its convolutions by name, new ones."""
        channels = self.in_channels
        for name, block in self._convolutions():
            padding = self.padding if block == self.first else 1
            yield name, nn.Conv2d(channels, channels := self._channels(block), 3, padding=padding)
        fc_channels = scaled(FC_CHANNELS, self.width)
        yield f"fc6{self.suffix}", nn.Conv2d(channels, fc_channels, FC6_KERNEL)
        yield f"fc7{self.suffix}", nn.Conv2d(fc_channels, fc_channels, 1)
