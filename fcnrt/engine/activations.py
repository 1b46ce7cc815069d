"""How large a net's activations become: what types with a short range are calibrated by."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fcnrt.models import FCN

MEASURED = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d)


def activation_ranges(net: FCN, images: Sequence[Tensor]) -> dict[str, tuple[float, float]]:
    """The least and the largest number that each layer of the trunk gives, before ReLU, by the layer's name.

    Args:
        net: a reference net in float32.
        images: normalised, ``[N,C,H,W]`` each, on the net's device.
    """
    ranges: dict[str, tuple[float, float]] = {}

    def note(name: str, y: Tensor) -> None:
        least, largest = torch.stack(torch.aminmax(y)).tolist()
        before = ranges.get(name, (math.inf, -math.inf))
        ranges[name] = min(before[0], least), max(before[1], largest)

    hooks = [
        module.register_forward_hook(lambda _, inputs, y, name=name: note(name, y))
        for name, module in net.named_modules()
        if isinstance(module, MEASURED)
    ]
    try:
        with torch.no_grad():
            for image in images:
                net.features(image)
    finally:
        for hook in hooks:
            hook.remove()
    return ranges
