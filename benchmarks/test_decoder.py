"""Everything after the trunk of a full-width FCN-8s: pool3, pool4 and fc7 to logits or labels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from benchmarks import nets
from benchmarks.baselines import Runs
from benchmarks.contenders import Contender
from benchmarks.workload import Given, Output, Workload
from fcnrt.engine.fused import FusedFCN

SIZES = [(375, 500), (500, 500)]


class FromMaps(nn.Module):
    """A decoder net as a function of its three maps, for an image of ``size``."""

    def __init__(self, net: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.net, self.size = net, size

    def forward(self, pool3: Tensor, pool4: Tensor, fc7: Tensor) -> Tensor:
        return self.net(self.given(pool3, pool4, fc7))  # type: ignore[no-any-return]

    def given(self, pool3: Tensor, pool4: Tensor, fc7: Tensor) -> nets.TrunkOutput:
        return nets.TrunkOutput({"pool3": pool3, "pool4": pool4, "fc7": fc7}, (len(pool3), 3, *self.size))


@pytest.mark.parametrize("output", ["scores", "labels"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_decoder(
    size: tuple[int, int], output: Output, contender: Contender, device: torch.device, compete: Callable[..., None]
) -> None:
    def fused(dtype: torch.dtype) -> Runs:
        net = FusedFCN(nets.seeded_decoder(device), dtype)
        module = FromMaps(net, size)
        return Runs(module, lambda *maps: net.predict_labels(module.given(*maps)))  # type: ignore[arg-type]

    maps = nets.trunk_maps(device, *size)
    workload = Workload(
        title=f"decoder of FCN-8s, {size[0]}x{size[1]}",
        given=tuple(Given("map", maps[name]) for name in ("pool3", "pool4", "fc7")),
        eager=lambda: FromMaps(nets.seeded_decoder(device), size),
        fused=fused,
    )
    compete(workload, output, contender)
