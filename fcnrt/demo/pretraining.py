"""Gives the trunk what the paper takes from ImageNet: features that tell shapes apart.

First as in the paper's section 3.1, a classifier of single objects, whose convolutions the FCN takes over. Then on
whole scenes, fc6 and fc7 included, but without the 100-pixel border: on small images most of the padded canvas is
padding, and the weights do not depend on it. There the trunk learns from three predictions at once, by pool3, pool4
and fc7 (deep supervision, Lee et al. 2014); only fc7's score layer stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcnrt.demo.batchnorm import trunk_names
from fcnrt.errors import InputError
from fcnrt.models import VGGFCN

POOLS: Mapping[str, str] = {
    "conv1_2": "pool1",
    "conv2_2": "pool2",
    "conv3_3": "pool3",
    "conv4_3": "pool4",
    "conv5_3": "pool5",
}
"""The convolution that closes a block -> the pool behind it."""
SUPERVISED: Mapping[str, str] = {"pool3": "conv3_3", "pool4": "conv4_3", "fc7": "fc7"}
"""Feature map -> the layer whose channels it has."""
LOSS_STRIDE = 4
"""Predictions are compared at every fourth pixel: the finest of them has stride 8."""


class Classifier(nn.Module):
    """The 3x3 convolutions of ``net`` as a classifier of images: averaged conv5_3, one linear layer."""

    def __init__(self, net: VGGFCN) -> None:
        super().__init__()
        self.net = net
        self.score = nn.Linear(_convolution(net, "conv5_3").out_channels, net.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Image ``[N,3,H,W]`` to one score per class ``[N,C]``."""
        scores: Tensor = self.score(trunk_maps(self.net, x, "conv5_3")["conv5_3"].mean((2, 3)))
        return scores


class DeeplySupervised(nn.Module):
    """An FCN's trunk without its border, and a score layer for each of ``SUPERVISED``."""

    def __init__(self, net: VGGFCN) -> None:
        super().__init__()
        self.net = net
        self.scores = nn.ModuleDict(
            {
                name: nn.Conv2d(_convolution(net, layer).out_channels, net.num_classes, 1)
                for name, layer in SUPERVISED.items()
            }
        )
        for parameter in self.scores.parameters():
            nn.init.zeros_(parameter)  # random scores would only disturb what the classifier has learned

    def forward(self, x: Tensor) -> list[Tensor]:
        """Image ``[N,3,H,W]``, H and W multiples of 32, to logits ``[N,C,H/4,W/4]``, one per score layer."""
        maps = trunk_maps(self.net, x, "fc7")
        size = (x.shape[-2] // LOSS_STRIDE, x.shape[-1] // LOSS_STRIDE)
        return [
            F.interpolate(score(maps[name]), size=size, mode="bilinear", align_corners=False)
            for name, score in self.scores.items()
        ]

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        """The mean cross-entropy of the three predictions; labels int64 ``[N,H,W]``."""
        middle = LOSS_STRIDE // 2
        sampled = labels[:, middle::LOSS_STRIDE, middle::LOSS_STRIDE]
        losses = [F.cross_entropy(logits, sampled) for logits in self(x)]
        return torch.stack(losses).mean()

    def finish(self) -> VGGFCN:
        """The net itself, with the score layer that fc7 learned as its own."""
        self.net.get_submodule("score_fr").load_state_dict(self.scores["fc7"].state_dict())
        return self.net


def trunk_maps(net: VGGFCN, x: Tensor, last: str) -> dict[str, Tensor]:
    """Image ``[N,3,H,W]`` to its pools and to what the layer ``last`` gives, none losing a border."""
    maps: dict[str, Tensor] = {}
    dropout = net.get_submodule("dropout")
    with without_border(net):
        for name in trunk_names(net):
            x = F.relu(net.get_submodule(name)(x), inplace=True)
            if name.startswith("fc"):
                x = dropout(x)
            if name == last:
                return {**maps, name: x}
            if name in POOLS:
                x = maps[POOLS[name]] = F.max_pool2d(x, 2)
    raise InputError(f"the trunk has no layer {last!r}; it has {', '.join(trunk_names(net))}")


@contextmanager
def without_border(net: VGGFCN) -> Iterator[None]:
    """Within it, the trunk of ``net`` pads so that every map has the image's size over its stride."""
    layers = {name: _convolution(net, name) for name in ("conv1_1", "fc6")}
    before = {name: layer.padding for name, layer in layers.items()}
    for layer in layers.values():
        layer.padding = tuple(side // 2 for side in layer.kernel_size)
    try:
        yield
    finally:
        for name, layer in layers.items():
            layer.padding = before[name]


def _convolution(net: VGGFCN, name: str) -> nn.Conv2d:
    """The layer of that name, with a batch normalization behind it or without."""
    return next(module for module in net.get_submodule(name).modules() if isinstance(module, nn.Conv2d))
