"""Each convolution of FCN-8s at 500x500, with bias, ReLU and pool, beside the layers of torch: cuDNN's, channels-last.

The maps carry the ring that a layer reads, so neither side pads. A time is only worth reading on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.baselines import Runs
from benchmarks.contenders import Contender
from benchmarks.conv_table import FIRST, LAYERS, Layer
from benchmarks.workload import Given, Workload
from fcnrt_kernels import conv, conv_first
from fcnrt_kernels.packing import pack_conv, pack_first

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="the convolutions of a CPU are torch's own")

BATCHES = (1, 16)
MEASURED = tuple(layer for layer in LAYERS if layer.name not in ("conv3_2", "conv4_2", "conv5_2"))
"""One of each shape."""


class ConvReluPool(nn.Module):
    """A layer as an eager user writes it: ``[N,C,H,W]`` with the ring, to ``[N,O,*,*]``."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        fan_in = layer.channels * layer.kernel**2
        self.conv = nn.Conv2d(layer.channels, layer.out_channels, layer.kernel).requires_grad_(False)
        self.conv.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
        assert self.conv.bias is not None
        self.conv.bias.normal_(0, 1, generator=generator)
        self.pool = layer.pool

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x).relu_()
        return F.max_pool2d(out, 2, ceil_mode=True) if self.pool else out


@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: f"batch{batch}")
@pytest.mark.parametrize("layer", MEASURED, ids=lambda layer: layer.name)
def test_conv(
    layer: Layer, batch: int, contender: Contender, device: torch.device, compete: Callable[..., None]
) -> None:
    side = layer.side + layer.kernel - 1
    x = torch.randn(batch, layer.channels, side, side, generator=torch.Generator().manual_seed(1)).relu_()
    workload = Workload(
        title=f"{layer.name}, {batch}x{layer.side}x{layer.side}, {layer.channels} to {layer.out_channels}",
        given=(Given("map", x.to(device)),),
        eager=lambda: ConvReluPool(layer).to(device),
        fused=lambda dtype: _fused(layer, dtype, device),
    )
    compete(workload, "scores", contender)


@pytest.mark.parametrize("batch", BATCHES, ids=lambda batch: f"batch{batch}")
def test_first_layer(batch: int, contender: Contender, device: torch.device, compete: Callable[..., None]) -> None:
    """The padding is part of the layer here, for both."""
    image = torch.randn(batch, 3, 500, 500, generator=torch.Generator().manual_seed(1))
    workload = Workload(
        title=f"{FIRST.name}, {batch}x{FIRST.side}x{FIRST.side}, {FIRST.channels} to {FIRST.out_channels}",
        given=(Given("map", image.to(device)),),
        eager=lambda: nn.Sequential(nn.ZeroPad2d(2), ConvReluPool(FIRST)).to(device),
        fused=lambda dtype: _fused_first(dtype, device),
    )
    compete(workload, "scores", contender)


def _fused(layer: Layer, dtype: torch.dtype, device: torch.device) -> Runs:
    module = ConvReluPool(layer).to(device)
    weight, bias, size = pack_conv(module.conv.weight, dtype), module.conv.bias, (layer.side, layer.side)
    assert bias is not None

    def run(x: Tensor) -> Tensor:
        return conv(x.permute(0, 2, 3, 1), weight, bias, size=size, pool=layer.pool).permute(0, 3, 1, 2)

    return Runs(run, None)


def _fused_first(dtype: torch.dtype, device: torch.device) -> Runs:
    module = ConvReluPool(FIRST).to(device)
    weight, bias, size = pack_first(module.conv.weight, dtype), module.conv.bias, (FIRST.side, FIRST.side)
    assert bias is not None
    ones, zeros = torch.ones(3, device=device), torch.zeros(3, device=device)

    def run(x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        return conv_first(x, weight, bias, scale=ones, shift=zeros, size=size, origin=(-2, -2)).permute(0, 3, 1, 2)

    return Runs(run, None)
