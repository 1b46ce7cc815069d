"""Which algorithm computes a convolution on the CPU. Every choice comes with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fcnrt.plan.graph import Convolution

Algorithm: TypeAlias = Literal["winograd", "matrix", "direct"]

WINOGRAD_TILE = 4
"""Rows and columns of outputs that one tile of F(4x4, 3x3) gives; a smaller map has no tile."""

WINOGRAD_FROM: Mapping[str, int] = {"AVX2": 48, "AVX512": 512}
"""Least channels, in and out, from which Winograd measured faster than oneDNN's own convolution, by the vector
instructions as ``torch.backends.cpu.get_cpu_capability`` names them: the faster they are, the more channels it takes to
make up for the transforms, which memory bounds. Others were not measured, and keep oneDNN's."""

LARGE_KERNEL = 7
"""Rows and columns of the kernel of fc6, for which F(2x2, 7x7) takes a third of the multiplications."""

MATRIX_FROM = 1 << 24
"""Weights of a layer, such as fc6 and fc7, from which reading them outweighs unfolding what they multiply."""


@dataclass(frozen=True)
class Choice:
    """An algorithm, and why."""

    algorithm: Algorithm
    reason: str


def select_algorithm(op: Convolution, *, exact: bool, capability: str) -> Choice:
    """How to compute ``op``.

    Args:
        op: the convolution.
        exact: the type is float32 or wider; Winograd's sums lose too much in 16 bits.
        capability: the processor's vector instructions, as torch names them.
    """
    rows, columns = op.windows
    taps = rows.kernel * columns.kernel
    plain = op.groups == 1 and rows.stride == columns.stride == 1
    if plain and op.channels * op.in_channels * taps >= MATRIX_FROM and _slides_without_padding(op):
        if _large_winograd(op, exact, capability):
            return Choice("winograd", "7x7 with many channels: a third of the multiplications")
        return Choice("matrix", f"{op.channels * op.in_channels * taps / 1e6:.0f} million weights: one matrix product")
    if not plain or (rows.kernel, columns.kernel) != (3, 3) or rows.dilation != columns.dilation:
        return Choice("direct", "neither a 3x3 convolution with stride 1 and one group nor as wide as fc6")
    if not exact:
        return Choice("direct", "Winograd's sums lose too much in 16 bits")
    least, narrow = WINOGRAD_FROM.get(capability), min(op.channels, op.in_channels)
    if least is None:
        return Choice("direct", f"Winograd was not measured on {capability}")
    if narrow < least:
        return Choice("direct", f"{narrow} channels; Winograd is faster from {least} on with {capability}")
    return Choice("winograd", f"3x3 with {narrow} channels or more: a quarter of the multiplications")


def _large_winograd(op: Convolution, exact: bool, capability: str) -> bool:
    """Whether F(2x2, 7x7) is taken: with the instructions and channels for which F(4x4, 3x3) is.

    With AVX2 it measured 2.0 to 3.3 times as fast as one matrix product. With AVX512 it was not measured: its
    transforms are a smaller part of the work than those of 3x3, which paid there.
    """
    least, kernels = WINOGRAD_FROM.get(capability), {window.kernel for window in op.windows}
    return exact and kernels == {LARGE_KERNEL} and least is not None and min(op.channels, op.in_channels) >= least


def _slides_without_padding(op: Convolution) -> bool:
    return all(window.padding == 0 and window.dilation == 1 for window in op.windows)
