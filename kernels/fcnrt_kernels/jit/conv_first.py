"""Normalise an image and convolve it: the first layer, whose few input channels fill no line of memory."""

import triton
import triton.language as tl

from fcnrt_kernels.jit.sizes import SIZES


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
    RELU: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Positions of one image by output channels; the sum runs over taps and input channels together."""
    TERMS: tl.constexpr = KH * KW * CHANNELS
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    offs_c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    n = tl.program_id(2).to(tl.int64)
    y = pixel // columns
    x = pixel % columns
    mask_p = pixel < rows * columns
    mask_c = offs_c < out_channels

    in_y = y * STRIDE + origin_y
    in_x = x * STRIDE + origin_x
    image_ptr += n * stride_n
    acc = tl.zeros([BLOCK_P, BLOCK_C], dtype=tl.float32)
    for first in range(0, TERMS, BLOCK_K):
        k = first + tl.arange(0, BLOCK_K)
        tap = k // CHANNELS
        c = k % CHANNELS
        mask_k = k < TERMS
        row = in_y[:, None] + (tap // KW)[None, :]
        column = in_x[:, None] + (tap % KW)[None, :]
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width) & mask_p[:, None] & mask_k[None, :]
        pointers = image_ptr + row.to(tl.int64) * stride_h + column * stride_w + (c * stride_c)[None, :]
        value = tl.load(pointers, mask=inside, other=0).to(tl.float32)
        scale = tl.load(scale_ptr + c, mask=mask_k, other=0.0)
        shift = tl.load(shift_ptr + c, mask=mask_k, other=0.0)
        # The padding is zeros after the normalisation: there the shift does not apply either.
        value = tl.where(inside, value * scale[None, :] + shift[None, :], 0.0)
        weight = tl.load(
            weight_ptr + k[:, None] * out_channels + offs_c[None, :],
            mask=mask_k[:, None] & mask_c[None, :],
            other=0.0,
        )
        acc = tl.dot(value.to(weight.dtype), weight, acc, input_precision=PRECISION)
    acc += tl.load(bias_ptr + offs_c, mask=mask_c, other=0.0).to(tl.float32)[None, :]
    if RELU:
        acc = tl.maximum(acc, 0.0, propagate_nan=tl.PropagateNan.ALL)
    out_ptr += n * stride_on + y[:, None].to(tl.int64) * stride_oh
    pointers = out_ptr + x[:, None] * stride_ow + offs_c[None, :]
    tl.store(pointers, acc.to(out_ptr.dtype.element_ty), mask=mask_p[:, None] & mask_c[None, :])
