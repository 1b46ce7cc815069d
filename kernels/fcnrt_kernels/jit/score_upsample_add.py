"""Score a skip, upsample the coarse scores, crop both, add: one pass."""

import triton
import triton.language as tl

from fcnrt_kernels.jit.sizes import SIZES
from fcnrt_kernels.jit.upsample import DENSE, phase_pixels, upsample_dense, upsample_diagonal


@triton.jit
def score_pixels(
    pixel_ptr,  # [BLOCK_P]: the skip's pixels
    weight_ptr,
    bias_ptr,
    scale,
    offs_c,  # [BLOCK_C]: classes
    num_classes,
    skip_channels,
    stride_c,
    mask,
    PRECISION: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """The score: a matrix product of BLOCK_P skip pixels with BLOCK_C rows of the 1x1 convolution."""
    acc = tl.zeros([BLOCK_P, BLOCK_C], dtype=tl.float32)
    mask_c = offs_c < num_classes
    offs_k = tl.arange(0, BLOCK_K)
    for k in range(0, skip_channels, BLOCK_K):
        mask_k = k + offs_k < skip_channels
        a = tl.load(
            pixel_ptr[:, None] + (k + offs_k)[None, :].to(tl.int64) * stride_c,
            mask=mask[:, None] & mask_k[None, :],
            other=0.0,
        )
        b = tl.load(
            weight_ptr + offs_c[None, :] * skip_channels + (k + offs_k)[:, None],
            mask=mask_c[None, :] & mask_k[:, None],
            other=0.0,
        )
        acc = tl.dot(a, b, acc, input_precision=PRECISION)
    bias = tl.load(bias_ptr + offs_c, mask=mask_c, other=0.0).to(tl.float32)
    return acc * scale + bias[None, :]


@triton.jit(do_not_specialize=(*SIZES, "stride_cn", "stride_cc", "stride_ch", "stride_on", "stride_oc", "stride_oh"))
def score_upsample_add_kernel(
    coarse_ptr,
    skip_ptr,
    weight_ptr,
    bias_ptr,
    taps_ptr,
    out_ptr,
    scale,
    num_classes,
    skip_channels,
    coarse_height,
    coarse_width,
    out_height,
    out_width,
    offset_y,
    offset_x,
    skip_y,
    skip_x,
    scale_y,
    scale_x,
    stride_cn,
    stride_cc,
    stride_ch,
    stride_cw,
    stride_sn,
    stride_sc,
    stride_sh,
    stride_sw,
    stride_on,
    stride_oc,
    stride_oh,
    stride_ow,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    KIND: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    tile = tl.program_id(0)
    offs_c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask_c = offs_c < num_classes
    n = tl.program_id(2).to(tl.int64)

    if KIND == DENSE:
        y, x, iy, ix, phase_y, phase_x, mask_p = phase_pixels(
            tile, offset_y, offset_x, out_height, out_width, STRIDE, BLOCK_P
        )
    else:
        pixel = tile * BLOCK_P + tl.arange(0, BLOCK_P)
        mask_p = pixel < out_height * out_width
        y = pixel // out_width
        x = pixel % out_width

    acc = score_pixels(
        skip_ptr + n * stride_sn + (y + skip_y).to(tl.int64) * stride_sh + (x + skip_x).to(tl.int64) * stride_sw,
        weight_ptr,
        bias_ptr,
        scale,
        offs_c,
        num_classes,
        skip_channels,
        stride_sc,
        mask_p,
        PRECISION,
        BLOCK_P,
        BLOCK_C,
        BLOCK_K,
    )

    coarse_ptr += n * stride_cn
    mask = mask_p[:, None] & mask_c[None, :]
    if KIND == DENSE:
        acc = upsample_dense(
            acc,
            coarse_ptr,
            taps_ptr,
            iy,
            ix,
            phase_y,
            phase_x,
            offs_c,
            num_classes,
            coarse_height,
            coarse_width,
            stride_cc,
            stride_ch,
            stride_cw,
            mask_p,
            KERNEL,
            STRIDE,
            BLOCK_P,
            BLOCK_K,
        )
    else:
        acc = upsample_diagonal(
            acc,
            coarse_ptr + offs_c[None, :].to(tl.int64) * stride_cc,
            taps_ptr + offs_c[None, :] * (KERNEL * KERNEL),
            (y + offset_y)[:, None],
            (x + offset_x)[:, None],
            coarse_height,
            coarse_width,
            scale_y,
            scale_x,
            stride_ch,
            stride_cw,
            mask,
            KERNEL,
            STRIDE,
            KIND,
        )
    out_ptr += n * stride_on + y[:, None].to(tl.int64) * stride_oh + x[:, None].to(tl.int64) * stride_ow
    tl.store(out_ptr + offs_c[None, :].to(tl.int64) * stride_oc, acc, mask=mask)
