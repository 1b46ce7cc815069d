"""The scores of one tile, level by level, and its labels: what one program of the decoder does."""

import triton
import triton.language as tl

from fcnrt_kernels.jit.argmax import keep_best_of_block, keep_better, probability
from fcnrt_kernels.jit.score_upsample_add import score_pixels
from fcnrt_kernels.jit.upsample import DENSE, phase_pixels, upsample_cells, upsample_dense, upsample_diagonal


@triton.jit
def first_entry(first, offset, KERNEL: tl.constexpr, STRIDE: tl.constexpr):
    """The first coarse entry that reaches entry ``first`` of a window at ``offset``, on one axis."""
    return tl.maximum((first + offset) // STRIDE - ((KERNEL + STRIDE - 1) // STRIDE - 1), 0)


@triton.jit
def refine_tile(
    out_ptr,  # scratch: [num_classes, ROWS, COLUMNS], from position (first_y, first_x) of this level on
    coarse_ptr,  # at image n
    skip_ptr,  # at image n
    weight_ptr,
    bias_ptr,
    taps_ptr,
    scale,
    num_classes,
    skip_channels,
    first_y,
    first_x,
    height,
    width,
    coarse_height,
    coarse_width,
    offset_y,
    offset_x,
    skip_y,
    skip_x,
    stride_cc,
    stride_ch,
    stride_cw,
    stride_sc,
    stride_sh,
    stride_sw,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    KIND: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """One level of one tile: what ``score_upsample_add_kernel`` does, for ROWS x COLUMNS positions of the window."""
    if KIND == DENSE:
        CELLS: tl.constexpr = ((ROWS + STRIDE - 2) // STRIDE + 1) * ((COLUMNS + STRIDE - 2) // STRIDE + 1)
        BLOCKS: tl.constexpr = (CELLS + BLOCK_P - 1) // BLOCK_P * STRIDE * STRIDE
    else:
        BLOCKS: tl.constexpr = (ROWS * COLUMNS + BLOCK_P - 1) // BLOCK_P  # type: ignore[no-redef]  # of another kind
    rows = tl.minimum(height - first_y, ROWS)
    columns = tl.minimum(width - first_x, COLUMNS)
    for block in range(BLOCKS):
        if KIND == DENSE:
            row, column, iy, ix, phase_y, phase_x, mask_p = phase_pixels(
                block, first_y + offset_y, first_x + offset_x, rows, columns, STRIDE, BLOCK_P
            )
        else:
            position = block * BLOCK_P + tl.arange(0, BLOCK_P)
            row = position // COLUMNS
            column = position % COLUMNS
            mask_p = (row < rows) & (column < columns)
        y = first_y + row
        x = first_x + column
        pixel_ptr = skip_ptr + (y + skip_y).to(tl.int64) * stride_sh + (x + skip_x).to(tl.int64) * stride_sw
        for c in range(0, num_classes, BLOCK_C):
            offs_c = c + tl.arange(0, BLOCK_C)
            mask = mask_p[:, None] & (offs_c < num_classes)[None, :]
            acc = score_pixels(
                pixel_ptr,
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
                    16,
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
                    0.0,
                    0.0,
                    stride_ch,
                    stride_cw,
                    mask,
                    KERNEL,
                    STRIDE,
                    KIND,
                )
            at = (row * COLUMNS + column)[:, None] + offs_c[None, :] * (ROWS * COLUMNS)
            tl.store(out_ptr + at, acc, mask=mask)


@triton.jit
def label_tile(
    coarse_ptr,  # where position (0, 0) of class 0 would be
    taps_ptr,
    labels_ptr,  # at image n
    confidence_ptr,
    num_classes,
    cell_y,
    cell_x,
    height,
    width,
    out_height,
    out_width,
    offset_y,
    offset_x,
    stride_lh,
    stride_lw,
    stride_ph,
    stride_pw,
    STRIDE_C: tl.constexpr,
    STRIDE_H: tl.constexpr,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    KIND: tl.constexpr,
    CONFIDENCE: tl.constexpr,
    CELLS_Y: tl.constexpr,
    CELLS_X: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_Q: tl.constexpr,
):
    """The last upsampling and the argmax of one tile: BLOCK_Q pixels of each cell, one class after the other.

    Dense taps mix the classes: one pixel of each cell, a block of classes after the other.
    """
    CELLS: tl.constexpr = CELLS_Y * CELLS_X
    if KIND == DENSE:
        iy = cell_y + tl.arange(0, CELLS) // CELLS_X
        ix = cell_x + tl.arange(0, CELLS) % CELLS_X
        for phase in range(STRIDE * STRIDE):
            phase_y = phase // STRIDE
            phase_x = phase % STRIDE
            y = iy * STRIDE + phase_y - offset_y
            x = ix * STRIDE + phase_x - offset_x
            mask = (y >= 0) & (y < out_height) & (x >= 0) & (x < out_width)
            best = tl.full([CELLS], float("-inf"), dtype=tl.float32)
            label = tl.zeros([CELLS], dtype=tl.int32)
            total = tl.zeros([CELLS], dtype=tl.float32)
            for c in range(0, num_classes, BLOCK_C):
                offs_c = c + tl.arange(0, BLOCK_C)
                values = upsample_dense(
                    tl.zeros([CELLS, BLOCK_C], dtype=tl.float32),
                    coarse_ptr,
                    taps_ptr,
                    iy,
                    ix,
                    phase_y,
                    phase_x,
                    offs_c,
                    num_classes,
                    height,
                    width,
                    STRIDE_C,
                    STRIDE_H,
                    1,
                    mask,
                    KERNEL,
                    STRIDE,
                    CELLS,
                    16,
                )
                best, label, total = keep_best_of_block(values, offs_c, num_classes, best, label, total, CONFIDENCE)
            row, column = y.to(tl.int64), x.to(tl.int64)
            tl.store(labels_ptr + row * stride_lh + column * stride_lw, label, mask=mask)
            if CONFIDENCE:
                at = confidence_ptr + row * stride_ph + column * stride_pw
                tl.store(at, probability(best, total), mask=mask)
    else:
        iy = cell_y + (tl.arange(0, CELLS) // CELLS_X)[None, :]
        ix = cell_x + (tl.arange(0, CELLS) % CELLS_X)[None, :]
        for first in range(0, STRIDE * STRIDE, BLOCK_Q):
            pixel = (first + tl.arange(0, BLOCK_Q))[:, None]
            phase_y = pixel // STRIDE
            phase_x = pixel % STRIDE
            best = tl.full([BLOCK_Q, CELLS], float("-inf"), dtype=tl.float32)
            label = tl.zeros([BLOCK_Q, CELLS], dtype=tl.int32)
            total = tl.zeros([BLOCK_Q, CELLS], dtype=tl.float32)
            for c in range(num_classes):
                value = upsample_cells(
                    coarse_ptr + c * STRIDE_C,
                    taps_ptr + c * (KERNEL * KERNEL),
                    iy,
                    ix,
                    phase_y,
                    phase_x,
                    height,
                    width,
                    STRIDE_H,
                    1,
                    KERNEL,
                    STRIDE,
                    KIND,
                )
                best, label, total = keep_better(value, c, best, label, total, CONFIDENCE)
            y = iy * STRIDE + phase_y - offset_y
            x = ix * STRIDE + phase_x - offset_x
            mask = (phase_y < STRIDE) & (y >= 0) & (y < out_height) & (x >= 0) & (x < out_width)
            row, column = y.to(tl.int64), x.to(tl.int64)
            tl.store(labels_ptr + row * stride_lh + column * stride_lw, label, mask=mask)
            if CONFIDENCE:
                at = confidence_ptr + row * stride_ph + column * stride_pw
                tl.store(at, probability(best, total), mask=mask)
