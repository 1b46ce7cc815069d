"""What an eager user does to the input of a whole net: its conversion is part of the time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.nets import NORMALIZATION


class FromImage(nn.Module):
    """An eager net with the conversion of its input, which is part of the time: the image comes in float32."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.to(next(self.net.parameters()).dtype))  # type: ignore[no-any-return]


class FromPixels(nn.Module):
    """An eager net with all that is done to its input, which comes in uint8, ``[N,H,W,3]``."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        rule, device = NORMALIZATION, next(net.parameters()).device
        assert (rule.order, rule.scale, rule.std) == ("bgr", 1.0, (1.0, 1.0, 1.0))
        self.mean = torch.tensor(rule.mean, device=device).view(1, 3, 1, 1)  # no buffer: it keeps its bits

    def forward(self, images: Tensor) -> Tensor:
        x = images.flip(3).permute(0, 3, 1, 2).float() - self.mean
        return self.net(x.to(next(self.net.parameters()).dtype))  # type: ignore[no-any-return]


class InTurn(nn.Module):
    """A net on one image after another; gives what the last one gives."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Tensor) -> Tensor:
        return [self.net(x) for x in inputs][-1]  # type: ignore[no-any-return]
