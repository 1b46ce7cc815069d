"""Score a feature map: a matrix product with few rows and a long sum, which is split so that it fills a GPU."""

import triton
import triton.language as tl

from fcnrt_kernels.jit.sizes import SIZES


@triton.jit(do_not_specialize=(*SIZES, "stride_on", "stride_oc", "stride_oh"))
def score_kernel(
    x_ptr,
    weight_ptr,  # [TERMS, num_classes, channels]
    bias_ptr,
    out_ptr,
    partial_ptr,  # [splits, N, num_classes, out_height * out_width], if SPLIT
    batch,
    num_classes,
    channels,
    out_height,
    out_width,
    offset_y,
    offset_x,
    splits,
    steps,  # of the sum, in one split
    stride_xn,
    stride_xc,
    stride_xh,
    stride_xw,
    stride_on,
    stride_oc,
    stride_oh,
    stride_ow,
    TERMS: tl.constexpr,
    SPLIT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """``BLOCK_P`` positions by ``BLOCK_C`` classes over one part of the channels."""
    blocks_c = tl.cdiv(num_classes, BLOCK_C)
    pixel = tl.program_id(0) // blocks_c * BLOCK_P + tl.arange(0, BLOCK_P)
    offs_c = tl.program_id(0) % blocks_c * BLOCK_C + tl.arange(0, BLOCK_C)
    split = tl.program_id(1)
    n = tl.program_id(2)
    mask_p = pixel < out_height * out_width
    mask_c = offs_c < num_classes
    y = pixel // out_width
    x = pixel % out_width
    x_ptr += n.to(tl.int64) * stride_xn
    x_ptrs = x_ptr + (y + offset_y).to(tl.int64) * stride_xh + (x + offset_x).to(tl.int64) * stride_xw

    acc = tl.zeros([BLOCK_P, BLOCK_C], dtype=tl.float32)
    for i in range(steps):
        k = (split * steps + i) * BLOCK_K + tl.arange(0, BLOCK_K)
        mask_k = k < channels
        value = tl.load(
            x_ptrs[:, None] + k[None, :].to(tl.int64) * stride_xc, mask=mask_p[:, None] & mask_k[None, :], other=0.0
        )
        for term in tl.static_range(TERMS):
            row = term * num_classes + offs_c
            weight = tl.load(
                weight_ptr + row[None, :].to(tl.int64) * channels + k[:, None],
                mask=mask_c[None, :] & mask_k[:, None],
                other=0.0,
            )
            acc = tl.dot(value, weight, acc, input_precision=PRECISION)

    mask = mask_p[:, None] & mask_c[None, :]
    if SPLIT:
        row = (split * batch + n).to(tl.int64) * num_classes + offs_c
        pointers = partial_ptr + row[None, :] * (out_height * out_width) + pixel[:, None]
        tl.store(pointers, acc, mask=mask)
    else:
        bias = tl.load(bias_ptr + offs_c, mask=mask_c, other=0.0).to(tl.float32)
        out_ptr += n.to(tl.int64) * stride_on + y[:, None].to(tl.int64) * stride_oh + x[:, None] * stride_ow
        tl.store(out_ptr + offs_c[None, :].to(tl.int64) * stride_oc, acc + bias[None, :], mask=mask)


@triton.jit(do_not_specialize=(*SIZES, "stride_on", "stride_oc", "stride_oh"))
def score_sum_kernel(
    partial_ptr,  # [splits, N, num_classes, out_height * out_width]
    bias_ptr,
    out_ptr,
    batch,
    num_classes,
    out_height,
    out_width,
    splits,
    stride_on,
    stride_oc,
    stride_oh,
    stride_ow,
    BLOCK_P: tl.constexpr,
):
    """Adds up the splits, always in the same order: positions of one class."""
    pixel = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    c = tl.program_id(1)
    n = tl.program_id(2)
    pixels = out_height * out_width
    mask = pixel < pixels
    acc = tl.zeros([BLOCK_P], dtype=tl.float32)
    for split in range(splits):
        row = (split * batch + n).to(tl.int64) * num_classes + c
        acc += tl.load(partial_ptr + row * pixels + pixel, mask=mask, other=0.0)
    acc += tl.load(bias_ptr + c).to(tl.float32)
    out_ptr += n.to(tl.int64) * stride_on + c.to(tl.int64) * stride_oc
    tl.store(out_ptr + (pixel // out_width).to(tl.int64) * stride_oh + pixel % out_width * stride_ow, acc, mask=mask)
