"""Normalise an image and convolve it: the first layer, whose few input channels fill no line of memory.

A thread gathers all terms of its own position: neighbouring threads read neighbouring pixels, a tap costs a constant
offset, and each row and column is compared with the image's borders once.
"""

import triton
import triton.language as tl

from fcnrt_kernels.jit.sizes import SIZES


@triton.jit
def gather(
    first,
    image_ptr,
    scale_ptr,
    shift_ptr,
    in_y,  # of the first tap, [positions]
    in_x,
    height,
    width,
    stride_h,
    stride_w,
    stride_c,
    KW: tl.constexpr,
    CHANNELS: tl.constexpr,
    TERMS: tl.constexpr,
    STEP: tl.constexpr,
    LENGTH: tl.constexpr,
):
    """Every ``STEP``-th term from ``first`` on, normalised: ``[positions, 2, 2, ...]``, ``LENGTH`` of them.

    Even and odd terms are joined, so that in the end a position's terms lie one after another in its thread.
    """
    if LENGTH > 1:
        even = gather(
            first,
            image_ptr,
            scale_ptr,
            shift_ptr,
            in_y,
            in_x,
            height,
            width,
            stride_h,
            stride_w,
            stride_c,
            KW,
            CHANNELS,
            TERMS,
            2 * STEP,
            LENGTH // 2,
        )
        odd = gather(
            first + STEP,
            image_ptr,
            scale_ptr,
            shift_ptr,
            in_y,
            in_x,
            height,
            width,
            stride_h,
            stride_w,
            stride_c,
            KW,
            CHANNELS,
            TERMS,
            2 * STEP,
            LENGTH // 2,
        )
        return tl.join(even, odd)
    else:
        tap = first // CHANNELS
        c = first % CHANNELS
        row = in_y + tap // KW
        inside = (row >= 0) & (row < height) & (in_x + tap % KW >= 0) & (in_x + tap % KW < width) & (first < TERMS)
        # 64 bits for a position's own address alone: what is added to it is the same for all of them.
        pointers = image_ptr + (row.to(tl.int64) * stride_h + in_x.to(tl.int64) * stride_w) + c.to(tl.int64) * stride_c
        value = tl.load(pointers + tap % KW * stride_w, mask=inside, other=0).to(tl.float32)
        scale = tl.load(scale_ptr + c)
        shift = tl.load(shift_ptr + c)
        # The padding is zeros after the normalisation: there the shift does not apply either.
        return tl.where(inside, value * scale + shift, 0.0)


@triton.jit(do_not_specialize=SIZES)
def conv_first_kernel(
    image_ptr,
    weight_ptr,  # [KH, KW, CHANNELS, out_channels]
    bias_ptr,
    scale_ptr,
    shift_ptr,
    out_ptr,
    out_channels,
    height,
    width,
    rows,
    columns,
    origin_y,
    origin_x,
    stride_n,
    stride_h,
    stride_w,
    stride_c,
    stride_on,
    stride_oh,
    stride_ow,
    STRIDE: tl.constexpr,
    KH: tl.constexpr,
    KW: tl.constexpr,
    CHANNELS: tl.constexpr,
    PACKED: tl.constexpr,
    RELU: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCKS_C: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """A rectangle of positions by output channels; the sum runs over taps and input channels together.

    ``PACKED`` says that pixels lie one after another, without gaps between them or their channels.
    """
    TERMS: tl.constexpr = KH * KW * CHANNELS
    BLOCK_P: tl.constexpr = BLOCK_Y * BLOCK_X
    if PACKED:
        stride_w = CHANNELS
    tile_y = tl.program_id(0) // BLOCKS_C
    p = tl.arange(0, BLOCK_P)
    y = tile_y * BLOCK_Y + p // BLOCK_X
    x = tl.program_id(1) * BLOCK_X + p % BLOCK_X
    n = tl.program_id(2).to(tl.int64)
    offs_c = tl.program_id(0) % BLOCKS_C * BLOCK_C + tl.arange(0, BLOCK_C)
    mask_c = offs_c < out_channels

    acc = tl.zeros([BLOCK_P, BLOCK_C], dtype=tl.float32)
    for first in range(0, TERMS, BLOCK_K):
        k = first + tl.arange(0, BLOCK_K)
        weight = tl.load(
            weight_ptr + k[:, None] * out_channels + offs_c[None, :],
            mask=(k < TERMS)[:, None] & mask_c[None, :],
            other=0.0,
        )
        window = gather(
            first,
            image_ptr + n * stride_n,
            scale_ptr,
            shift_ptr,
            y * STRIDE + origin_y,
            x * STRIDE + origin_x,
            height,
            width,
            stride_h,
            stride_w,
            stride_c,
            KW,
            CHANNELS,
            TERMS,
            1,
            BLOCK_K,
        )
        window = window.reshape(BLOCK_P, BLOCK_K).to(weight.dtype)
        acc = tl.dot(window, weight, acc, input_precision=PRECISION)
    acc += tl.load(bias_ptr + offs_c, mask=mask_c, other=0.0).to(tl.float32)[None, :]
    if RELU:
        acc = tl.maximum(acc, 0.0, propagate_nan=tl.PropagateNan.ALL)
    out_ptr += n * stride_on + y[:, None].to(tl.int64) * stride_oh
    pointers = out_ptr + x[:, None] * stride_ow + offs_c[None, :]
    mask = ((y < rows) & (x < columns))[:, None] & mask_c[None, :]
    tl.store(pointers, acc.to(out_ptr.dtype.element_ty), mask=mask)
