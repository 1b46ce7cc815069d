"""Cost against pixels: FCN-8s from 64x64 to 2048x2048, and in batches; slim unless ``--full-width`` is given."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from benchmarks import nets
from benchmarks.contenders import REFERENCE, Contender
from benchmarks.workload import Given, Workload

SLIM = 1 / 4
POINTS = (*((side, 1) for side in (64, 128, 256, 512, 1024, 2048)), *((256, batch) for batch in (2, 4, 8)))
"""Rows and columns, and images at a time."""
SWEPT = (
    REFERENCE,
    *(() if torch.cuda.is_available() else (Contender("fcnrt", without=("halo",)),)),
    Contender("fcnrt"),
)
ROUNDS = 3
"""There are many points, and what is looked for is a curve."""


@pytest.mark.parametrize("swept", SWEPT, ids=str)
@pytest.mark.parametrize(("side", "batch"), POINTS, ids=lambda value: str(value))
def test_sweep(
    side: int,
    batch: int,
    swept: Contender,
    device: torch.device,
    compete: Callable[..., None],
    request: pytest.FixtureRequest,
) -> None:
    width = 1.0 if request.config.getoption("full_width") else SLIM
    workload = Workload(
        title=f"FCN-8s, {'full width' if width == 1 else f'width {width:g}'}, {side}x{side}, batch {batch}",
        given=(Given("image", nets.image(0, side, side, batch).to(device)),),
        eager=lambda: nets.seeded_net(device, width),
        fused=lambda dtype: nets.segmenter_runs(nets.seeded_segmenter(device, dtype, width)),
        fused_without=lambda dtype, parts: nets.seeded_runs_without(parts, device, dtype, width),
        facts={"height": side, "width": side, "batch": batch},
    )
    compete(workload, "labels", swept, rounds=ROUNDS)
