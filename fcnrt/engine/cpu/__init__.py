"""The CPU engine: a planned trunk, channels last, in oneDNN's convolutions and our own."""

from __future__ import annotations

import torch

from fcnrt.engine.cpu.steps import CPUSteps
from fcnrt.engine.planned import PlannedTrunk
from fcnrt.models import FCN

__all__ = ["plan_on_cpu"]


def plan_on_cpu(net: FCN, dtype: torch.dtype, *, halo: bool = True) -> PlannedTrunk:
    """The trunk of ``net``, packed for the CPU.

    Args:
        net: a reference net on the CPU in evaluation mode, batch norm folded.
        dtype: of weights and activations.
        halo: compute only what depends on the image.

    Raises:
        NotLowerableError: the trunk does something that no op of a graph stands for.
    """
    return PlannedTrunk(net, dtype, CPUSteps(net, dtype), halo=halo)
