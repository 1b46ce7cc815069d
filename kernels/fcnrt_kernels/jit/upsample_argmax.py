"""Upsample the scores, crop, and keep only the best class of each pixel: one pass, no logits in memory."""

import triton
import triton.language as tl

from fcnrt_kernels.jit.argmax import keep_best_of_block, keep_better, probability
from fcnrt_kernels.jit.sizes import LABEL_STRIDES, SCORE_STRIDES, SIZES
from fcnrt_kernels.jit.upsample import phase_pixels, upsample_dense, upsample_diagonal


@triton.jit(do_not_specialize=(*SIZES, *SCORE_STRIDES, *LABEL_STRIDES))
def upsample_argmax_kernel(
    scores_ptr,
    taps_ptr,
    labels_ptr,
    confidence_ptr,
    num_classes,
    height,
    width,
    out_height,
    out_width,
    offset_y,
    offset_x,
    stride_sn,
    stride_sc,
    stride_sh,
    stride_sw,
    stride_ln,
    stride_lh,
    stride_lw,
    stride_pn,
    stride_ph,
    stride_pw,
    scale_y,
    scale_x,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    KIND: tl.constexpr,
    CONFIDENCE: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """For weights that keep the classes apart: a tile of pixels, one class after the other."""
    tiles_x = tl.cdiv(out_width, BLOCK_X)
    tile = tl.program_id(0)
    n = tl.program_id(1).to(tl.int64)
    y = (tile // tiles_x) * BLOCK_Y + tl.arange(0, BLOCK_Y)[:, None]
    x = (tile % tiles_x) * BLOCK_X + tl.arange(0, BLOCK_X)[None, :]
    mask = (y < out_height) & (x < out_width)

    best = tl.full([BLOCK_Y, BLOCK_X], float("-inf"), dtype=tl.float32)
    label = tl.zeros([BLOCK_Y, BLOCK_X], dtype=tl.int32)
    total = tl.zeros([BLOCK_Y, BLOCK_X], dtype=tl.float32)
    for c in range(num_classes):
        value = upsample_diagonal(
            tl.zeros([BLOCK_Y, BLOCK_X], dtype=tl.float32),
            scores_ptr + n * stride_sn + tl.cast(c, tl.int64) * stride_sc,
            taps_ptr + c * (KERNEL * KERNEL),
            y + offset_y,
            x + offset_x,
            height,
            width,
            scale_y,
            scale_x,
            stride_sh,
            stride_sw,
            mask,
            KERNEL,
            STRIDE,
            KIND,
        )
        best, label, total = keep_better(value, c, best, label, total, CONFIDENCE)

    row, column = y.to(tl.int64), x.to(tl.int64)
    tl.store(labels_ptr + n * stride_ln + row * stride_lh + column * stride_lw, label, mask=mask)
    if CONFIDENCE:
        tl.store(
            confidence_ptr + n * stride_pn + row * stride_ph + column * stride_pw,
            probability(best, total),
            mask=mask,
        )


@triton.jit(do_not_specialize=(*SIZES, *SCORE_STRIDES, *LABEL_STRIDES))
def upsample_argmax_dense_kernel(
    scores_ptr,
    taps_ptr,
    labels_ptr,
    confidence_ptr,
    num_classes,
    height,
    width,
    out_height,
    out_width,
    offset_y,
    offset_x,
    stride_sn,
    stride_sc,
    stride_sh,
    stride_sw,
    stride_ln,
    stride_lh,
    stride_lw,
    stride_pn,
    stride_ph,
    stride_pw,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    CONFIDENCE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """For weights that mix the classes: pixels of one phase, a block of classes after the other."""
    n = tl.program_id(1).to(tl.int64)
    y, x, iy, ix, phase_y, phase_x, mask = phase_pixels(
        tl.program_id(0), offset_y, offset_x, out_height, out_width, STRIDE, BLOCK_P
    )
    best = tl.full([BLOCK_P], float("-inf"), dtype=tl.float32)
    label = tl.zeros([BLOCK_P], dtype=tl.int32)
    total = tl.zeros([BLOCK_P], dtype=tl.float32)
    for c in range(0, num_classes, BLOCK_C):
        offs_c = c + tl.arange(0, BLOCK_C)
        values = upsample_dense(
            tl.zeros([BLOCK_P, BLOCK_C], dtype=tl.float32),
            scores_ptr + n * stride_sn,
            taps_ptr,
            iy,
            ix,
            phase_y,
            phase_x,
            offs_c,
            num_classes,
            height,
            width,
            stride_sc,
            stride_sh,
            stride_sw,
            mask,
            KERNEL,
            STRIDE,
            BLOCK_P,
            BLOCK_K,
        )
        best, label, total = keep_best_of_block(values, offs_c, num_classes, best, label, total, CONFIDENCE)

    row, column = y.to(tl.int64), x.to(tl.int64)
    tl.store(labels_ptr + n * stride_ln + row * stride_lh + column * stride_lw, label, mask=mask)
    if CONFIDENCE:
        tl.store(
            confidence_ptr + n * stride_pn + row * stride_ph + column * stride_pw,
            probability(best, total),
            mask=mask,
        )
