"""What each technique is worth: full-width FCN-8s, one more of them from line to line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from benchmarks import nets
from benchmarks.contenders import REFERENCE, Contender
from benchmarks.eager_inputs import FromImage
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


HALF = torch.float16
STEPS_ON_GPU = (
    REFERENCE,
    Contender("eager", HALF, channels_last=True),
    Contender("graph", HALF, channels_last=True),
    Contender("fcnrt", HALF, without=("convolutions", "halo", "launch")),
    Contender("fcnrt", HALF, without=("halo", "launch")),
    Contender("fcnrt", HALF, without=("launch",)),
    Contender("fcnrt", HALF),
)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="these are the GPU engine's parts")
@pytest.mark.parametrize("step", STEPS_ON_GPU, ids=str)
def test_ablation_on_gpu(step: Contender, device: torch.device, compete: Callable[..., None]) -> None:
    workload = Workload(
        title="FCN-8s, full width, 500x500",
        given=(Given("image", nets.image(0, 500, 500).to(device)),),
        eager=lambda: FromImage(nets.seeded_net(device)),
        fused=lambda dtype: nets.segmenter_runs(nets.seeded_segmenter(device, dtype)),
        fused_without=lambda dtype, parts: nets.seeded_gpu_runs_without(parts, device, dtype),
    )
    compete(workload, "labels", step)


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
