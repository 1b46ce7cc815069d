"""Weights that are neither zero nor all alike, and how far two results are apart."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fcnrt.engine.fused import FusedFCN
from fcnrt.models import FCN


@pytest.fixture
def randomized() -> Callable[[Any], Any]:
    """A net in evaluation mode with random weights, biases and statistics that keep activations in range."""

    def randomize(net: nn.Module) -> nn.Module:
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                for values in (module.running_var, module.weight):
                    assert values is not None
                    values.data.uniform_(0.5, 2.0)
                for values in (module.running_mean, module.bias):
                    assert values is not None
                    values.data.normal_(0.0, 0.3)
            elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                fan_in = module.weight.numel() // module.weight.shape[0]
                module.weight.data.normal_(0.0, (2.0 / fan_in) ** 0.5)
                if module.bias is not None:
                    module.bias.data.normal_(0.0, 0.3)
        return net.eval().requires_grad_(False)

    return randomize


@pytest.fixture
def relative_error() -> Callable[[Tensor, Tensor], float]:
    """The largest difference, in units of the largest expected value."""

    def compare(found: Tensor, expected: Tensor) -> float:
        assert found.shape == expected.shape
        assert expected.abs().max() > 0, "all zero: nothing is compared"
        return float((found.double() - expected.double()).abs().max() / expected.double().abs().max())

    return compare


@pytest.fixture
def fused_logits() -> Callable[[FCN, Tensor], Any]:
    """What the fused engine makes of a net, in float32; the net itself stays as it is."""

    def run(net: FCN, x: Tensor) -> Any:
        return FusedFCN(copy.deepcopy(net), torch.float32)(x)

    return run
