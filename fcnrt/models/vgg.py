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

STRIDE = 32
"""Of the last pool."""

FC_CHANNELS = 4096
FC6_KERNEL = 7

PADDING = 100
"""Zeros around the image, taken by the first convolution: with them, images down to 1x1 give scores to crop from."""


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
        """New convolutions by name."""
        channels, padding = self.in_channels, self.padding
        for _, names, out_channels in self._blocks():
            for name in names:
                yield name, nn.Conv2d(channels, out_channels, 3, padding=padding)
                channels, padding = out_channels, 1
        fc_channels = scaled(FC_CHANNELS, self.width)
        yield f"fc6{self.suffix}", nn.Conv2d(channels, fc_channels, FC6_KERNEL)
        yield f"fc7{self.suffix}", nn.Conv2d(fc_channels, fc_channels, 1)

    def feature_channels(self) -> dict[str, int]:
        """Channels of ``pool1`` … ``pool5`` and ``fc7``."""
        pools = {pool: channels for pool, _, channels in self._blocks()}
        return {**pools, f"fc7{self.suffix}": scaled(FC_CHANNELS, self.width)}

    def run(self, net: nn.Module, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """The layers as ``net`` has them, and its ``dropout``, on an image ``[N,in_channels,H,W]``.

        Gives each feature map, finest first, as soon as it is there: ``pool1`` … ``pool5`` (strides 2 … 32) and
        ``fc7`` (stride 32).
        """
        dropout = net.get_submodule("dropout")
        for pool, names, _ in self._blocks():
            for name in names:
                x = F.relu(net.get_submodule(name)(x), inplace=True)
            # Caffe's pooling rounds up; with floor, some sizes would leave too little to crop.
            x = F.max_pool2d(x, 2, stride=2, ceil_mode=True)
            yield pool, x
        for name in (f"fc6{self.suffix}", f"fc7{self.suffix}"):
            x = dropout(F.relu(net.get_submodule(name)(x), inplace=True))
        yield f"fc7{self.suffix}", x

    def peak_elements(self, height: int, width: int) -> int:
        """conv1_2's input and output, on the padded canvas."""
        border = 2 * self.padding - 2
        return 2 * scaled(CHANNELS[0], self.width) * (height + border) * (width + border)

    def _blocks(self) -> Iterator[tuple[str, list[str], int]]:
        """Of each block: its feature map, its convolutions, its channels."""
        for block, (channels, depth) in enumerate(zip(CHANNELS, DEPTHS["vgg16"], strict=True), start=1):
            names = [f"conv{block}_{index}{self.suffix}" for index in range(1, depth + 1)]
            if block == 1:
                names[0] = f"{self.first}{self.suffix}"
            yield f"pool{block}{self.suffix}", names, scaled(channels, self.width)


class CaffeVGGFCN(FCN):
    """Decoders on VGG16 trunks, all layers by Caffe's names.

    Score layers start at zero and transposed convolutions at bilinear interpolation, as the paper trains them; the
    trunks have torch's default initialisation.

    Args:
        heads: a decoder for each label map.
        head_classes: classes of each head.
        trunks: take the image's channels one after the other.
    """

    def __init__(self, heads: Mapping[str, Decoder], head_classes: Mapping[str, int], *trunks: VGG16Trunk) -> None:
        super().__init__()
        self.heads = dict(heads)
        self.head_classes = dict(head_classes)
        self.num_classes = next(iter(head_classes.values()))
        self.trunks = trunks
        self.width = trunks[0].width
        self.in_channels = sum(trunk.in_channels for trunk in trunks)
        channels: dict[str, int] = {}
        for trunk in trunks:
            channels |= trunk.feature_channels()
            for name, layer in trunk.layers():
                self.add_module(name, layer)
        self.dropout = nn.Dropout2d()
        for name, decoder in heads.items():
            add_decoder(self, decoder, channels, head_classes[name])

    def peak_elements(self, height: int, width: int) -> int:
        """Those of one trunk: they run one after the other."""
        return max(trunk.peak_elements(height, width) for trunk in self.trunks)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Image ``[N,in_channels,H,W]`` to the feature maps that the decoders name."""
        named = decoded_features(self.heads)
        parts = x.split_with_sizes([trunk.in_channels for trunk in self.trunks], dim=1)
        maps: dict[str, Tensor] = {}
        for trunk, part in zip(self.trunks, parts, strict=True):
            maps.update((name, feature) for name, feature in trunk.run(self, part) if name in named)
        return maps


def vgg_features(depths: tuple[int, ...], width: float) -> nn.Sequential:
    """torchvision's ``vgg*().features``: convolutions padded by 1, ReLU, pools that round down."""
    layers: list[nn.Module] = []
    channels = 3
    for full_channels, depth in zip(CHANNELS, depths, strict=True):
        for _ in range(depth):
            layers += [nn.Conv2d(channels, channels := scaled(full_channels, width), 3, padding=1), nn.ReLU(True)]
        layers.append(nn.MaxPool2d(2, stride=2))
    return nn.Sequential(*layers)


def run_vgg_features(features: nn.Sequential, x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """``vgg_features`` on an image ``[N,3,H,W]``: gives ``pool1`` … ``pool5`` as soon as each is there."""
    block = 1
    for layer in features:
        x = layer(x)
        if isinstance(layer, nn.MaxPool2d):
            yield f"pool{block}", x
            block += 1


def vgg_peak_elements(size: tuple[int, int], width: float) -> int:
    """conv1_2's input and output, in ``vgg_features``, for an image of ``size``."""
    return 2 * scaled(CHANNELS[0], width) * size[0] * size[1]
