"""Score a skip, upsample the coarse scores, crop both and add, in one pass.

    out[n,c,y,x] = sum_(i,j) coarse[n,c',i,j] * taps[(c',)c, Y - i*stride, X - j*stride]
                 + scale * sum_k weight[c,k] * skip[n,k, y + skip_offset_y, x + skip_offset_x] + bias[c]

with ``Y = y + offset_y``, ``X = x + offset_x``: one refinement stage of an FCN decoder (Long, Shelhamer, Darrell,
section 4.2; ``score_pool4``, ``upscore2``, ``score_pool4c`` and ``fuse_pool4`` of ``voc-fcn16s/net.py``), whose eager
form writes and reads four intermediate maps. The skip is read once; nothing but class scores is written.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from fcnrt_kernels import launch, reference
from fcnrt_kernels.checks import DTYPES, TRANSPOSED, check_out, check_scores, check_skip, check_upsampling
from fcnrt_kernels.config import select_matrix_tile
from fcnrt_kernels.op import Op


def score_upsample_add(
    coarse: Tensor,
    skip: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    size: Sequence[int],
    skip_offset: Sequence[int],
    kernel: int = 1,
    stride: int = 1,
    offset: Sequence[int] = (0, 0),
    scale: float = 1.0,
    taps: Tensor | None = None,
    rule: str = TRANSPOSED,
    out: Tensor | None = None,
) -> Tensor:
    """Add the scores of ``skip`` to the upsampled ``coarse`` scores.

    Args:
        coarse: scores ``[N,C,h,w]``; float32, float16 or bfloat16, any strides.
        skip: feature map ``[N,K,H',W']``, likewise.
        weight, bias: the 1x1 convolution, ``[C,K]`` in skip's type and ``[C]``, contiguous.
        size: rows and columns of the window.
        skip_offset: first row and column of the window in ``skip``.
        kernel, stride: of the transposed convolution, which has no padding; kernel >= stride.
        offset: first row and column of the window in the upsampled map.
        scale: multiplies the score before the bias is added (the at-once nets scale their skips).
        taps: None for bilinear, ``[C,kernel,kernel]`` for one filter a class, ``[C,C,kernel,kernel]``
            (in, out, rows, columns) for a full transposed convolution; contiguous float32.
        rule: ``"transposed"``, or the interpolation that brings all of the scores to ``size`` instead:
            ``"half_pixel"`` (torch's ``align_corners=False``), ``"align_corners"``, ``"nearest"``.
        out: where to write, ``[N,C,*size]``, any floating type and strides; a new float32 tensor if None.

    Returns:
        ``out``: ``[N,C,*size]``, computed in float32.

    Raises:
        ValueError: shapes, types, devices or windows that do not fit each other.
    """
    args = (coarse, skip, weight, bias, taps, kernel, stride, list(offset), list(skip_offset), list(size), scale, rule)
    if out is None:
        return _OP(*args)  # type: ignore[no-any-return]
    check_out(out, (*coarse.shape[:2], *size), DTYPES, coarse.device)
    return _OP.into(out, *args)  # type: ignore[no-any-return]


def _check(
    coarse: Tensor,
    skip: Tensor,
    weight: Tensor,
    bias: Tensor,
    taps: Tensor | None,
    kernel: int,
    stride: int,
    offset: Sequence[int],
    skip_offset: Sequence[int],
    size: Sequence[int],
    scale: float,
    rule: str,
) -> None:
    check_scores("coarse", coarse)
    check_upsampling(coarse, taps, kernel, stride, offset, size, rule)
    check_skip(coarse, skip, weight, bias, skip_offset, size)


def _allocate(coarse: Tensor, *args: object) -> Tensor:
    size: Sequence[int] = args[-3]  # type: ignore[assignment]  # of the schema below
    return coarse.new_empty((*coarse.shape[:2], *size), dtype=torch.float32)


def _launch(
    coarse: Tensor,
    skip: Tensor,
    weight: Tensor,
    bias: Tensor,
    taps: Tensor | None,
    kernel: int,
    stride: int,
    offset: Sequence[int],
    skip_offset: Sequence[int],
    size: Sequence[int],
    scale: float,
    rule: str,
    out: Tensor,
) -> None:
    from fcnrt_kernels.jit.score_upsample_add import score_upsample_add_kernel

    batch, num_classes = coarse.shape[:2]
    kind = launch.kind_of(rule, taps)
    tile = select_matrix_tile(num_classes, skip.shape[1], skip.element_size())
    if kind == launch.DENSE:
        # The score itself stays on the tensor cores, which want 64 pixels; the taps' product has to fit beside it.
        tile = dataclasses.replace(tile, block_k=16)
    if kind == launch.DENSE:
        blocks = launch.phase_blocks(stride, offset, size, tile.block_p)
    else:
        blocks = launch.cdiv(size[0] * size[1], tile.block_p)
    with launch.on_device(coarse):
        score_upsample_add_kernel[blocks, launch.cdiv(num_classes, tile.block_c), batch](
            coarse,
            skip,
            weight,
            bias,
            bias if taps is None else taps,  # bilinear weights are not read from memory
            out,
            scale,
            num_classes,
            skip.shape[1],
            *coarse.shape[2:],
            *size,
            *offset,
            *skip_offset,
            *launch.coarse_per_output(rule, coarse.shape[2:], size),
            *coarse.stride(),
            *skip.stride(),
            *out.stride(),
            KERNEL=kernel,
            STRIDE=stride,
            KIND=kind,
            PRECISION=launch.dot_precision(),
            BLOCK_P=tile.block_p,
            BLOCK_C=tile.block_c,
            BLOCK_K=tile.block_k,
            num_warps=tile.num_warps,
            num_stages=tile.num_stages,
        )


_OP = Op(
    "score_upsample_add",
    "(Tensor coarse, Tensor skip, Tensor weight, Tensor bias, Tensor? taps, int kernel, int stride, "
    "SymInt[] offset, SymInt[] skip_offset, SymInt[] size, float scale, str rule) -> Tensor",
    check=_check,
    twin=reference.score_upsample_add,
    allocate=_allocate,
    launch=_launch,
)
