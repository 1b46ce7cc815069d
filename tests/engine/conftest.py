"""Slim nets with weights that mean something: scores of order one, and three kinds of upsampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import nn

from fcnrt.models import FCN, create_model

Kind = Literal["bilinear", "depthwise", "dense"]
MakeNet = Callable[..., FCN]


@pytest.fixture
def make_net() -> MakeNet:
    def make(arch: str, num_classes: int = 5, *, kind: Kind = "bilinear", width: float = 1 / 16) -> FCN:
        net = create_model(arch, num_classes, width=width).eval().requires_grad_(False)
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.normal_(module.bias, std=0.1)
            elif isinstance(module, nn.ConvTranspose2d):
                if kind == "depthwise":
                    own = torch.eye(module.in_channels)[:, :, None, None]
                    module.weight.add_(own * torch.randn_like(module.weight) * 0.2)
                elif kind == "dense":
                    module.weight.add_(torch.randn_like(module.weight) * 0.05)
        return net

    return make
