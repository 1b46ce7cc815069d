"""The GPU engine: a planned trunk, NHWC, in Triton's convolutions and cuDNN's."""

from __future__ import annotations

import torch

from fcnrt.engine.gpu.steps import GPUSteps
from fcnrt.engine.planned import PlannedTrunk
from fcnrt.models import FCN
from fcnrt.preprocessing import Normalization
from fcnrt_kernels.conv_problem import ConvProblem

__all__ = ["plan_on_gpu", "take_pixels", "tuning_problems"]


def plan_on_gpu(net: FCN, dtype: torch.dtype, *, halo: bool = True) -> PlannedTrunk:
    """The trunk of ``net``, packed for the GPU that it is on.

    It also runs on the CPU, in the kernels' torch twins or in Triton's interpreter.

    Args:
        net: a reference net in evaluation mode, batch norm folded. What cuDNN convolves stays in its modules: give
            them ``dtype`` and channels last afterwards, or each call converts them.
        dtype: of weights and activations.
        halo: compute only what depends on the image.

    Raises:
        NotLowerableError: the trunk does something that no op of a graph stands for.
    """
    # The first two convolutions as one step would compute the first nine times over, or keep it in memory after all.
    return PlannedTrunk(net, dtype, GPUSteps(net, dtype), halo=halo, chain=False, recordable=True)


def take_pixels(planned: PlannedTrunk, normalization: Normalization) -> bool:
    """Let a planned trunk also read uint8 images, RGB, ``[N,3,H,W]``, and normalise them on the way.

    Returns whether it does: on a CPU, and where anything but the first convolution reads the images, it cannot.
    """
    return isinstance(planned.steps, GPUSteps) and planned.steps.take_pixels(normalization)


def tuning_problems(planned: PlannedTrunk, size: tuple[int, int], images: int) -> list[ConvProblem]:
    """What ``fcnrt tune`` measures: each convolution of a planned trunk that ``fcnrt_kernels.conv`` computes.

    Args:
        planned: from :func:`plan_on_gpu`.
        size: rows and columns of the image.
        images: in a batch.
    """
    steps = planned.steps
    assert isinstance(steps, GPUSteps)
    return steps.problems(planned.prepare(*size).schedule, images)
