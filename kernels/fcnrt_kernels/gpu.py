"""The GPU that a tensor is on, as the choice of tiles sees it."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from fcnrt_kernels.conv_config import SHARED_MEMORY
from fcnrt_kernels.conv_problem import Target


def target(x: Tensor) -> Target:
    """The GPU that x is on; the interpreter passes for a small sm_90."""
    return _target(x.device) if x.is_cuda else Target(90, 3, "interpreter")


@functools.cache
def _target(device: torch.device) -> Target:
    properties = torch.cuda.get_device_properties(device)
    capability = nearest_capability(properties.major * 10 + properties.minor)
    return Target(capability, properties.multi_processor_count, properties.name)


def nearest_capability(capability: int) -> int:
    """The latest known member of the same generation that is not later: what it runs, ``capability`` runs too.

    Raises:
        ValueError: a generation that the kernels are not made for.
    """
    known = [each for each in SHARED_MEMORY if each <= capability and each // 10 == capability // 10]
    if not known:
        generations = ", ".join(f"sm_{each}" for each in SHARED_MEMORY)
        raise ValueError(f"the GPU is an sm_{capability}; expected the generation of one of {generations}")
    return max(known)
