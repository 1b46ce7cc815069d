"""Upsample the scores, crop, and keep only the best class of each pixel: one pass, no logits in memory."""

import triton
import triton.language as tl

from fcnrt_kernels.jit.upsample import phase_pixels, upsample_dense, upsample_diagonal


@triton.jit
def exp_gap(value, maximum):
    """``exp(value - maximum)``, and 1 where both are the same infinity."""
    return tl.where(value == maximum, 1.0, tl.exp(value - maximum))


@triton.jit
def probability(best, total):
    """The winner's softmax probability; NaN where softmax has none, as torch gives."""
    return tl.where(tl.abs(best) == float("inf"), float("nan"), 1.0 / total)


@triton.jit
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
            scores_ptr + n * stride_sn + c * stride_sc,
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
        # Strictly greater: the lowest class wins a tie. NaN wins over any number, the first NaN over later ones.
        better = (value > best) | ((value != value) & (best == best))
        if CONFIDENCE:
            maximum = tl.where(better, value, best)
            total = total * exp_gap(best, maximum) + exp_gap(value, maximum)
        best = tl.where(better, value, best)
        label = tl.where(better, c, label)

    row = y.to(tl.int64)
    tl.store(labels_ptr + n * stride_ln + row * stride_lh + x * stride_lw, label, mask=mask)
    if CONFIDENCE:
        tl.store(
            confidence_ptr + n * stride_pn + row * stride_ph + x * stride_pw,
            probability(best, total),
            mask=mask,
        )


@triton.jit
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
        mask_c = (offs_c < num_classes)[None, :]
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
        values = tl.where(mask_c, values, float("-inf"))
        # A maximum in hardware passes over NaN: rank NaN above every number, by a value of its own.
        is_nan = values != values
        has_nan = tl.max(is_nan.to(tl.int32), axis=1) > 0
        top = tl.max(tl.where(is_nan, float("-inf"), values), axis=1)
        wins = tl.where(has_nan[:, None], is_nan, values == top[:, None])
        first = tl.min(tl.where(wins & mask_c, offs_c[None, :], num_classes), axis=1)
        top = tl.where(has_nan, float("nan"), top)

        better = (top > best) | ((top != top) & (best == best))
        if CONFIDENCE:
            maximum = tl.where(better, top, best)
            terms = tl.where(mask_c, exp_gap(values, maximum[:, None]), 0.0)
            total = total * exp_gap(best, maximum) + tl.sum(terms, axis=1)
        best = tl.where(better, top, best)
        label = tl.where(better, first, label)

    row = y.to(tl.int64)
    tl.store(labels_ptr + n * stride_ln + row * stride_lh + x * stride_lw, label, mask=mask)
    if CONFIDENCE:
        tl.store(
            confidence_ptr + n * stride_pn + row * stride_ph + x * stride_pw,
            probability(best, total),
            mask=mask,
        )
