"""What each technique is worth on a CPU: full-width FCN-8s, one more of them from line to line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from benchmarks import nets
from benchmarks.contenders import REFERENCE, Contender
from benchmarks.workload import Given, Workload
from fcnrt.engine.placement import cpu_has_bfloat16

SIZE = (375, 500)

STEPS = (
    REFERENCE,
    Contender("eager", channels_last=True),
    Contender("fcnrt", without=("matrix", "winograd", "halo", "decoder")),
    Contender("fcnrt", without=("winograd", "halo", "decoder")),
    Contender("fcnrt", without=("halo", "decoder")),
    Contender("fcnrt", without=("decoder",)),
    Contender("fcnrt"),
    *([Contender("fcnrt", torch.bfloat16)] if cpu_has_bfloat16() else []),
)


@pytest.mark.skipif(torch.cuda.is_available(), reason="these are the CPU engine's parts, and this run is for the GPU")
@pytest.mark.parametrize("step", STEPS, ids=str)
def test_ablation(step: Contender, device: torch.device, compete: Callable[..., None]) -> None:
    workload = Workload(
        title=f"FCN-8s, full width, {SIZE[0]}x{SIZE[1]}",
        given=(Given("image", nets.image(0, *SIZE)),),
        eager=lambda: nets.seeded_net(device),
        fused=lambda dtype: nets.segmenter_runs(nets.seeded_segmenter(device, dtype)),
        fused_without=lambda dtype, parts: nets.seeded_runs_without(parts, device, dtype),
    )
    compete(workload, "labels", step)
