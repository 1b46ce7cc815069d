"""The authors' ``net.py`` in torch, on layers by Caffe's names: weights first, bias second, as blobs are in a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.publishers.vgg import CHANNELS, CLASSES, DEPTHS, HIDDEN, crop

Layers: TypeAlias = Mapping[str, tuple[Tensor, ...]]
Decoder: TypeAlias = tuple[tuple[tuple[str, str, int, float], ...], tuple[str, int, int]]
"""(Deconvolution, skip, crop, scale of the skip) of each stage, coarsest first; name, stride and crop of the last."""

DECODERS: Mapping[str, Decoder] = {
    "fcn32s": ((), ("upscore", 32, 19)),
    "fcn16s": ((("upscore2", "pool4", 5, 1.0),), ("upscore16", 16, 27)),
    "fcn8s": ((("upscore2", "pool4", 5, 1.0), ("upscore_pool4", "pool3", 9, 1.0)), ("upscore8", 8, 31)),
    "fcn8s-atonce": ((("upscore2", "pool4", 5, 0.01), ("upscore_pool4", "pool3", 9, 0.0001)), ("upscore8", 8, 31)),
}


def trunk_layers(suffix: str = "", *, first: str = "conv1_1", channels: int = 3) -> dict[str, tuple[Tensor, ...]]:
    """Random ones, a thirty-second as wide, from ``conv1_1`` to ``fc7``."""
    layers: dict[str, tuple[Tensor, ...]] = {}
    for name in _names(first):
        block = int(name[4]) - 1
        layers[name + suffix] = convolution(channels, CHANNELS[block], 3)
        channels = CHANNELS[block]
    return layers | {
        f"fc6{suffix}": convolution(channels, HIDDEN, 7),
        f"fc7{suffix}": convolution(HIDDEN, HIDDEN, 1),
    }


def decoder_layers(arch: str, suffix: str = "", classes: int = CLASSES) -> dict[str, tuple[Tensor, ...]]:
    """Random ones, from ``score_fr`` on. Deconvolutions mix classes, which the released ones do not."""
    stages, (last, stride, _) = DECODERS[arch]
    layers: dict[str, tuple[Tensor, ...]] = {f"score_fr{suffix}": convolution(HIDDEN, classes, 1)}
    for deconvolution, pool, _, scale in stages:
        weight, bias = convolution(CHANNELS[int(pool[4]) - 1], classes, 1)
        layers[f"score_{pool}{suffix}"] = weight / scale, bias
        layers[deconvolution + suffix] = upsampling(classes, 2)
    return layers | {last + suffix: upsampling(classes, stride)}


def convolution(inputs: int, outputs: int, kernel: int) -> tuple[Tensor, Tensor]:
    weight = torch.randn(outputs, inputs, kernel, kernel) * (2 / (inputs * kernel * kernel)) ** 0.5
    return weight, 0.3 * torch.randn(outputs)


def upsampling(classes: int, stride: int, kernel: int = 0) -> tuple[Tensor]:
    kernel = kernel or 2 * stride
    return (torch.randn(classes, classes, kernel, kernel) * (1 / (4 * classes)) ** 0.5,)


def bilinear(classes: int, stride: int) -> tuple[Tensor]:
    """``surgery.interp``: what the released nets have."""
    ramp = 1 - (torch.arange(2 * stride) - (stride - 0.5)).abs() / stride
    return (torch.eye(classes)[:, :, None, None] * (ramp[:, None] * ramp),)


def trunk(layers: Layers, x: Tensor, suffix: str = "", *, first: str = "conv1_1") -> dict[str, Tensor]:
    """The maps that decoders read: ``pool3``, ``pool4``, ``fc7``. Caffe's pools round up."""
    maps = {}
    for name in _names(first):
        # conv1_1 alone has the 100 zeros.
        x = F.relu(convolve(layers, name + suffix, x, 100 if name == first else 1))
        block, index = int(name[4]), int(name[6])
        if index == DEPTHS["vgg16"][block - 1]:
            x = maps[f"pool{block}"] = F.max_pool2d(x, 2, 2, ceil_mode=True)
    x = F.relu(convolve(layers, f"fc6{suffix}", x))
    maps["fc7"] = F.relu(convolve(layers, f"fc7{suffix}", x))
    return maps


def decode(arch: str, layers: Layers, maps: Mapping[str, Tensor], image: Tensor, suffix: str = "") -> Tensor:
    """From ``score_fr`` to ``score``; scales of the at-once net as its Scale layers have them, where there are any."""
    stages, last = DECODERS[arch]
    score = convolve(layers, f"score_fr{suffix}", maps["fc7"])
    for deconvolution, pool, offset, scale in stages:
        score = deconvolve(layers, deconvolution + suffix, score, 2)
        skip = maps[pool]
        if f"scale_{pool}" in layers:
            skip = skip * layers[f"scale_{pool}"][0].double().view(1, -1, 1, 1)
        else:
            skip = skip * scale
        score = score + crop(convolve(layers, f"score_{pool}{suffix}", skip), offset, score)
    name, stride, offset = last
    return crop(deconvolve(layers, name + suffix, score, stride), offset, image)


def convolve(layers: Layers, name: str, x: Tensor, padding: int = 0, *, stride: int = 1, groups: int = 1) -> Tensor:
    weight, bias = layers[name]
    return F.conv2d(x, weight.double(), bias.double(), stride, padding, groups=groups)


def deconvolve(layers: Layers, name: str, x: Tensor, stride: int, *, groups: int = 1) -> Tensor:
    weight, bias = (*layers[name], None)[:2]
    assert weight is not None
    return F.conv_transpose2d(x, weight.double(), None if bias is None else bias.double(), stride, groups=groups)


def state_dict(layers: Layers) -> dict[str, Tensor]:
    """As a conversion to torch keeps it."""
    return {
        f"{name}.{leaf}": tensor
        for name, blobs in layers.items()
        for leaf, tensor in zip(("weight", "bias"), blobs, strict=False)
    }


def _names(first: str) -> list[str]:
    depths = enumerate(DEPTHS["vgg16"], start=1)
    return [first, *[f"conv{block}_{index}" for block, depth in depths for index in range(1, depth + 1)][1:]]
