"""The launches of a convolution in given tiles: descriptors or pointers, and the sum of the parts of a split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fcnrt_kernels import launch
from fcnrt_kernels.conv_problem import ConvConfig, ConvProblem, Target, Tiling, tiling
from fcnrt_kernels.launch import cdiv


def launch_conv(
    config: ConvConfig,
    problem: ConvProblem,
    target: Target,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    origin: Sequence[int],
    relu: bool,
    out: Tensor,
) -> None:
    """Launch ``conv`` in the tiles of a valid ``config``.

    Args:
        config, problem, target: what to launch, for what, on which GPU.
        x, weight, bias, origin, relu, out: as ``conv`` has checked them.
    """
    tiles = tiling(config, problem, target)
    workspace = bias  # not written
    if config.splits > 1:
        padded = tiles.tiles_m * config.block_m
        workspace = x.new_empty((config.splits, tiles.tiles_n, padded, config.block_n), dtype=torch.float32)
    shared: dict[str, Any] = {
        "RELU": relu,
        "POOL": problem.pool,
        "CLIP": problem.rows % 2 == 1 or problem.columns % 2 == 1,
        "BLOCK_Y": config.block_y,
        "BLOCK_X": config.block_x,
    }
    main = shared | {
        "KH": problem.kernel[0],
        "KW": problem.kernel[1],
        "SPLIT": config.splits > 1,
        "POSITIONS_FIRST": tiles.positions_first,
        "PRECISION": "ieee" if problem.exact else "tf32",
        "BLOCK_M": config.block_m,
        "BLOCK_K": config.block_k,
        "num_warps": config.num_warps,
        "num_stages": config.num_stages,
        "maxnreg": config.registers,
    }
    with launch.on_device(x):
        if config.variant == "descriptor":
            _launch_descriptors(config, problem, target, tiles, x, weight, bias, workspace, origin, out, main)
        else:
            _launch_pointers(problem, tiles, x, weight, bias, workspace, origin, out, main)
        if config.splits > 1:
            _launch_reduction(config, problem, tiles, workspace, bias, out, shared)


def _launch_descriptors(
    config: ConvConfig,
    problem: ConvProblem,
    target: Target,
    tiles: Tiling,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    workspace: Tensor,
    origin: Sequence[int],
    out: Tensor,
    constants: dict[str, Any],
) -> None:
    from triton.tools.tensor_descriptor import TensorDescriptor

    from fcnrt_kernels.jit.conv import conv_descriptor_kernel

    shrink = 2 if problem.pool else 1
    parts = config.parts(problem, target.capability)
    box_rows = config.block_y // (shrink if config.splits > 1 else shrink * parts)
    taps = weight.flatten(0, 1)
    conv_descriptor_kernel[min(tiles.work, target.multiprocessors * config.programs),](
        TensorDescriptor(x, [*x.shape], _strides(x), [1, config.block_y, config.block_x, config.block_k]),
        TensorDescriptor(taps, [*taps.shape], _strides(taps), [1, config.block_m, config.block_k]),
        TensorDescriptor(
            out,
            [*out.shape],
            _strides(out),
            [1, box_rows, config.block_x // shrink, config.block_m],
        ),
        bias,
        workspace,
        problem.out_channels,
        problem.rows,
        problem.columns,
        *origin,
        tiles.tiles_m,
        tiles.tiles_n,
        tiles.tiles_y,
        tiles.tiles_x,
        config.splits,
        tiles.steps,
        PARTS=parts,
        **constants,
    )


def _launch_pointers(
    problem: ConvProblem,
    tiles: Tiling,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    workspace: Tensor,
    origin: Sequence[int],
    out: Tensor,
    constants: dict[str, Any],
) -> None:
    from fcnrt_kernels.jit.conv import conv_pointer_kernel

    conv_pointer_kernel[tiles.work,](
        x,
        weight,
        out,
        bias,
        workspace,
        problem.channels,
        problem.out_channels,
        *x.shape[1:3],
        problem.rows,
        problem.columns,
        *origin,
        *_strides(x)[:3],
        *_strides(out)[:3],
        tiles.tiles_m,
        tiles.tiles_n,
        tiles.tiles_y,
        tiles.tiles_x,
        tiles.steps,
        ALIGN=problem.alignment // problem.itemsize,
        **constants,
    )


def _launch_reduction(
    config: ConvConfig,
    problem: ConvProblem,
    tiles: Tiling,
    workspace: Tensor,
    bias: Tensor,
    out: Tensor,
    constants: dict[str, Any],
) -> None:
    from fcnrt_kernels.jit.conv import conv_reduce_kernel

    block_m = min(config.block_m, _REDUCED_TILE // config.block_n)
    conv_reduce_kernel[tiles.tiles_n, cdiv(problem.out_channels, block_m)](
        workspace,
        out,
        bias,
        problem.out_channels,
        workspace.shape[2],
        problem.rows,
        problem.columns,
        *_strides(out)[:3],
        tiles.tiles_n,
        tiles.tiles_y,
        tiles.tiles_x,
        config.splits,
        BLOCK_M=block_m,
        num_warps=_REDUCING_WARPS,
        maxnreg=_REDUCING_REGISTERS,
        **constants,
    )


_REDUCED_TILE = 4096
"""Sums that one program of the reduction holds: 32 a thread."""
_REDUCING_WARPS, _REDUCING_REGISTERS = 4, 128
"""Four programs fit on a multiprocessor beside one another."""


def _strides(x: Tensor) -> list[int]:
    """x's strides; a dimension of length 1 gets the one that it has in a whole buffer, since torch leaves it open."""
    strides, following = [], 1
    for length, stride in zip(reversed(x.shape), reversed(x.stride()), strict=True):
        strides.append(stride if length > 1 else following)
        following = length * strides[-1]
    return strides[::-1]
