"""Upsample the scores and crop them to the image: the logits.

    out[n,c,y,x] = sum_(i,j) scores[n,c',i,j] * taps[(c',)c, Y - i*stride, X - j*stride]

with ``Y = y + offset_y``, ``X = x + offset_x`` (``upscore8`` and ``score`` of ``voc-fcn8s/net.py``). Only the window is
computed; each output has at most ``ceil(kernel / stride)`` squared contributions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fcnrt_kernels import launch, reference
from fcnrt_kernels.checks import DTYPES, TRANSPOSED, check_out, check_scores, check_upsampling
from fcnrt_kernels.config import select_matrix_tile, select_pixel_tile
from fcnrt_kernels.op import Op


def upsample_crop(
    scores: Tensor,
    *,
    size: Sequence[int],
    kernel: int = 1,
    stride: int = 1,
    offset: Sequence[int] = (0, 0),
    taps: Tensor | None = None,
    rule: str = TRANSPOSED,
    out: Tensor | None = None,
) -> Tensor:
    """A window of the transposed convolution of ``scores``.

    Args:
        scores: ``[N,C,h,w]``; float32, float16 or bfloat16, any strides.
        size: rows and columns of the window.
        kernel, stride: of the transposed convolution, which has no padding; kernel >= stride.
        offset: first row and column of the window in the upsampled map.
        taps: None for bilinear, ``[C,kernel,kernel]`` for one filter a class, ``[C,C,kernel,kernel]``
            (in, out, rows, columns) for a full transposed convolution; contiguous float32.
        rule: ``"transposed"``, or the interpolation that brings all of the scores to ``size`` instead:
            ``"half_pixel"`` (torch's ``align_corners=False``), ``"align_corners"``, ``"nearest"``.
        out: where to write, ``[N,C,*size]``, any floating type and strides; a new float32 tensor if None.

    Returns:
        ``out``: logits ``[N,C,*size]``, computed in float32.

    Raises:
        ValueError: shapes, types, devices or a window that do not fit each other.
    """
    args = (scores, taps, kernel, stride, list(offset), list(size), rule)
    if out is None:
        return _OP(*args)  # type: ignore[no-any-return]
    check_out(out, (*scores.shape[:2], *size), DTYPES, scores.device)
    return _OP.into(out, *args)  # type: ignore[no-any-return]


def check(
    scores: Tensor,
    taps: Tensor | None,
    kernel: int,
    stride: int,
    offset: Sequence[int],
    size: Sequence[int],
    rule: str,
) -> None:
    """What ``upsample_crop`` and ``upsample_argmax`` demand.

    Raises:
        ValueError: shapes, types, devices or a window that do not fit each other.
    """
    check_scores("scores", scores)
    check_upsampling(scores, taps, kernel, stride, offset, size, rule)


def _allocate(
    scores: Tensor,
    taps: Tensor | None,
    kernel: int,
    stride: int,
    offset: Sequence[int],
    size: Sequence[int],
    rule: str,
) -> Tensor:
    return scores.new_empty((*scores.shape[:2], *size), dtype=torch.float32)


def _launch(
    scores: Tensor,
    taps: Tensor | None,
    kernel: int,
    stride: int,
    offset: Sequence[int],
    size: Sequence[int],
    rule: str,
    out: Tensor,
) -> None:
    from fcnrt_kernels.jit.upsample_crop import upsample_crop_dense_kernel, upsample_crop_kernel

    batch, num_classes = scores.shape[:2]
    kind = launch.kind_of(rule, taps)
    args = (num_classes, *scores.shape[2:], *size, *offset, *scores.stride(), *out.stride())
    with launch.on_device(scores):
        if kind == launch.DENSE:
            matrix = select_matrix_tile(num_classes, num_classes, scores.element_size(), dense=True)
            blocks = launch.phase_blocks(stride, offset, size, matrix.block_p)
            upsample_crop_dense_kernel[blocks, launch.cdiv(num_classes, matrix.block_c), batch](
                scores,
                taps,
                out,
                *args,
                KERNEL=kernel,
                STRIDE=stride,
                BLOCK_P=matrix.block_p,
                BLOCK_C=matrix.block_c,
                BLOCK_K=matrix.block_k,
                num_warps=matrix.num_warps,
                num_stages=matrix.num_stages,
            )
        else:
            tile = select_pixel_tile(*size)
            blocks = launch.cdiv(size[0], tile.block_y) * launch.cdiv(size[1], tile.block_x)
            upsample_crop_kernel[blocks, num_classes, batch](
                scores,
                scores if taps is None else taps,  # bilinear weights are not read from memory
                out,
                *args,
                *launch.coarse_per_output(rule, scores.shape[2:], size),
                KERNEL=kernel,
                STRIDE=stride,
                KIND=kind,
                BLOCK_Y=tile.block_y,
                BLOCK_X=tile.block_x,
                num_warps=tile.num_warps,
            )


_OP = Op(
    "upsample_crop",
    "(Tensor scores, Tensor? taps, int kernel, int stride, SymInt[] offset, SymInt[] size, str rule) -> Tensor",
    check=check,
    twin=reference.upsample_crop,
    allocate=_allocate,
    launch=_launch,
)
