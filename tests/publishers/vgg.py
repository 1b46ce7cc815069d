"""The layers of VGG, a thirty-second as wide, as the programs here put them together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

CLASSES = 5
CHANNELS = (2, 4, 8, 16, 16)
HIDDEN = 128
DEPTHS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


def features(trunk: str = "vgg16", *, padding: int = 1, ceil_mode: bool = False) -> list[nn.Module]:
    """torchvision's ``vgg*().features``; some programs change the first padding, and how pools round."""
    layers: list[nn.Module] = []
    before = 3
    for channels, depth in zip(CHANNELS, DEPTHS[trunk], strict=True):
        for _ in range(depth):
            layers += [nn.Conv2d(before, channels, 3, padding=1 if layers else padding), nn.ReLU(inplace=True)]
            before = channels
        layers.append(nn.MaxPool2d(2, stride=2, ceil_mode=ceil_mode))
    return layers


def classifier(kernel: int = 7) -> list[nn.Module]:
    """fc6, fc7 and the score layer as convolutions, with what stands between them."""
    return [
        nn.Conv2d(CHANNELS[-1], HIDDEN, kernel),
        nn.ReLU(inplace=True),
        nn.Dropout2d(),
        nn.Conv2d(HIDDEN, HIDDEN, 1),
        nn.ReLU(inplace=True),
        nn.Dropout2d(),
        nn.Conv2d(HIDDEN, CLASSES, 1),
    ]


def score(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, CLASSES, 1)


def deconvolution(kernel: int, stride: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(CLASSES, CLASSES, kernel, stride=stride, bias=False)


def crop(x: Tensor, offset: int, like: Tensor) -> Tensor:
    """The rows and columns of ``x`` from ``offset`` on, as many as ``like`` has."""
    height, width = like.shape[2:]
    return x[:, :, offset : offset + height, offset : offset + width]


def magnify(layers: Iterable[nn.Module], factors: Sequence[float]) -> None:
    """Weights so large that skips that are scaled down still count, as training makes them."""
    for layer, factor in zip(layers, factors, strict=False):
        layer.get_parameter("weight").mul_(factor)
