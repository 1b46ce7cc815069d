"""Upsample the scores and crop them to the image: the logits, for those who want them."""

import triton
import triton.language as tl

from fcnrt_kernels.jit.sizes import SCORE_STRIDES, SIZES
from fcnrt_kernels.jit.upsample import phase_pixels, upsample_dense, upsample_diagonal


@triton.jit(do_not_specialize=(*SIZES, *SCORE_STRIDES))
def upsample_crop_kernel(
    scores_ptr,
    taps_ptr,
    out_ptr,
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
    stride_on,
    stride_oc,
    stride_oh,
    stride_ow,
    scale_y,
    scale_x,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    KIND: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """For weights that keep the classes apart: a tile of pixels of one class of one image."""
    tiles_x = tl.cdiv(out_width, BLOCK_X)
    tile = tl.program_id(0)
    c = tl.program_id(1)
    n = tl.program_id(2).to(tl.int64)
    y = (tile // tiles_x) * BLOCK_Y + tl.arange(0, BLOCK_Y)[:, None]
    x = (tile % tiles_x) * BLOCK_X + tl.arange(0, BLOCK_X)[None, :]
    mask = (y < out_height) & (x < out_width)
    value = upsample_diagonal(
        tl.zeros([BLOCK_Y, BLOCK_X], dtype=tl.float32),
        scores_ptr + n * stride_sn + c.to(tl.int64) * stride_sc,
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
    out_ptr += n * stride_on + c.to(tl.int64) * stride_oc
    tl.store(out_ptr + y.to(tl.int64) * stride_oh + x.to(tl.int64) * stride_ow, value, mask=mask)


@triton.jit(do_not_specialize=(*SIZES, *SCORE_STRIDES))
def upsample_crop_dense_kernel(
    scores_ptr,
    taps_ptr,
    out_ptr,
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
    stride_on,
    stride_oc,
    stride_oh,
    stride_ow,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """For weights that mix the classes: pixels of one phase, a block of classes."""
    offs_c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    n = tl.program_id(2).to(tl.int64)
    y, x, iy, ix, phase_y, phase_x, mask = phase_pixels(
        tl.program_id(0), offset_y, offset_x, out_height, out_width, STRIDE, BLOCK_P
    )
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
    out_ptr += n * stride_on + offs_c[None, :].to(tl.int64) * stride_oc
    out_ptr += y[:, None].to(tl.int64) * stride_oh
    out_ptr += x[:, None].to(tl.int64) * stride_ow
    tl.store(out_ptr, values, mask=mask[:, None] & (offs_c < num_classes)[None, :])
