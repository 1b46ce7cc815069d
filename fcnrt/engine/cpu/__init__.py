"""The CPU engine: a planned trunk, channels last, in oneDNN's convolutions and our own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fcnrt.engine.activations import activation_ranges
from fcnrt.engine.cpu.int8 import Int8Steps, check_takes_8_bits
from fcnrt.engine.cpu.steps import CPUSteps
from fcnrt.engine.planned import NOMINAL_SIZE, PlannedTrunk
from fcnrt.models import FCN
from fcnrt.plan.lowering import lower

__all__ = ["plan_on_cpu"]


def plan_on_cpu(net: FCN, dtype: torch.dtype, *, halo: bool = True, calibration: Sequence[Tensor] = ()) -> PlannedTrunk:
    """The trunk of ``net``, packed for the CPU.

    Args:
        net: a reference net on the CPU in evaluation mode, batch norm folded.
        dtype: of weights and activations; ``torch.int8`` has activations in uint8.
        halo: compute only what depends on the image.
        calibration: normalised images ``[N,C,H,W]`` that show how large activations become, for int8.

    Raises:
        NotLowerableError: the trunk does something that no op of a graph stands for.
    """
    if dtype == torch.int8:
        graph = lower(net, *NOMINAL_SIZE)
        check_takes_8_bits(graph)
        largest = {layer: most for layer, (_, most) in activation_ranges(net, calibration).items()}
        steps = Int8Steps(net, graph, largest)
        return PlannedTrunk(net, torch.uint8, steps, halo=halo)
    return PlannedTrunk(net, dtype, CPUSteps(net, dtype), halo=halo)
