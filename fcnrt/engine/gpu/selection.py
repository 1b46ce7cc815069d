"""Which kernel computes a convolution on a GPU. Every choice comes with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from fcnrt.plan.graph import Convolution
from fcnrt_kernels import gpu
from fcnrt_kernels.checks import DTYPES
from fcnrt_kernels.conv_first import MOST_CHANNELS
from fcnrt_kernels.dispatch import has_triton

Kernel: TypeAlias = Literal["conv", "conv_first", "torch"]


@dataclass(frozen=True)
class KernelChoice:
    """Who computes, and why."""

    kernel: Kernel
    reason: str


def select_kernel(op: Convolution, *, reads_image: bool, dtype: torch.dtype, obstacle: str | None) -> KernelChoice:
    """How to compute ``op`` at sizes that nobody measured.

    Args:
        op: the convolution.
        reads_image: its source is the image itself.
        dtype: to compute in.
        obstacle: why no Triton kernel runs here, or None.
    """
    rows, columns = op.windows
    if obstacle is not None:
        return KernelChoice("torch", obstacle)
    if dtype not in DTYPES:
        return KernelChoice("torch", f"the kernels do not compute in {str(dtype).removeprefix('torch.')}")
    if op.groups != 1:
        return KernelChoice("torch", f"{op.groups} groups")
    if max(rows.dilation, columns.dilation) > 1:
        return KernelChoice("torch", f"dilation {rows.dilation}")
    if reads_image and op.in_channels <= MOST_CHANNELS and rows.stride == columns.stride:
        return KernelChoice("conv_first", f"{op.in_channels} channels: the image is read as it is, its padding never")
    if max(rows.stride, columns.stride) > 1:
        return KernelChoice("torch", f"stride {rows.stride}")
    return KernelChoice("conv", "stride 1, one group: bias, ReLU and pool in the same pass, from view to view")


def find_obstacle(x: Tensor) -> str | None:
    """Why no Triton kernel convolves where ``x`` is, or None."""
    if not has_triton():
        return "triton is not installed"
    try:
        gpu.target(x)
    except ValueError as error:
        return str(error)
    return None
