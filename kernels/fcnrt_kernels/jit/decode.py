"""The whole decoder in one launch: both skips, every upsampling, crop, argmax.

A program takes a tile of labels and works backwards: it computes the few scores of each level that the tile needs and
no others, coarsest first. Scores go from level to level through a scratch of the program's own in memory, small
enough to stay in the caches: the level after reads them in another order than this one makes them.
"""

import triton
import triton.language as tl

from fcnrt_kernels.jit.decode_tile import first_entry, label_tile, refine_tile
from fcnrt_kernels.jit.sizes import LABEL_STRIDES, SCORE_STRIDES, SIZES


@triton.jit(do_not_specialize=(*SIZES, *SCORE_STRIDES, *LABEL_STRIDES))
def decode_labels_kernel(
    scores_ptr,
    skip1_ptr,
    weight1_ptr,
    bias1_ptr,
    taps1_ptr,
    skip2_ptr,
    weight2_ptr,
    bias2_ptr,
    taps2_ptr,
    taps_ptr,
    scratch_ptr,
    labels_ptr,
    confidence_ptr,
    scale1,
    scale2,
    batch,
    num_classes,
    channels1,
    channels2,
    height0,
    width0,
    height1,
    width1,
    height2,
    width2,
    out_height,
    out_width,
    offset1_y,
    offset1_x,
    offset2_y,
    offset2_x,
    offset_y,
    offset_x,
    skip1_y,
    skip1_x,
    skip2_y,
    skip2_x,
    stride_sn,
    stride_sc,
    stride_sh,
    stride_sw,
    stride_1n,
    stride_1c,
    stride_1h,
    stride_1w,
    stride_2n,
    stride_2c,
    stride_2h,
    stride_2w,
    stride_ln,
    stride_lh,
    stride_lw,
    stride_pn,
    stride_ph,
    stride_pw,
    LEVELS: tl.constexpr,
    KERNEL1: tl.constexpr,
    STRIDE1: tl.constexpr,
    KIND1: tl.constexpr,
    KERNEL2: tl.constexpr,
    STRIDE2: tl.constexpr,
    KIND2: tl.constexpr,
    KERNEL: tl.constexpr,
    STRIDE: tl.constexpr,
    KIND: tl.constexpr,
    CONFIDENCE: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS1: tl.constexpr,
    COLUMNS1: tl.constexpr,
    ROWS2: tl.constexpr,
    COLUMNS2: tl.constexpr,
    CELLS_Y: tl.constexpr,
    CELLS_X: tl.constexpr,
    BLOCK_P1: tl.constexpr,
    BLOCK_P2: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_Q: tl.constexpr,
):
    """Level 0 are the coarsest scores, level 1 and 2 have a skip each; with LEVELS = 1, level 2 follows level 0.

    A cell is STRIDE x STRIDE pixels between the same coarse scores; a tile is CELLS_Y x CELLS_X of them.
    """
    first_cell_y = offset_y // STRIDE
    first_cell_x = offset_x // STRIDE
    tiles_y = tl.cdiv((offset_y + out_height - 1) // STRIDE - first_cell_y + 1, CELLS_Y)
    tiles_x = tl.cdiv((offset_x + out_width - 1) // STRIDE - first_cell_x + 1, CELLS_X)
    SIZE1: tl.constexpr = ROWS1 * COLUMNS1 if LEVELS == 2 else 0
    SIZE2: tl.constexpr = ROWS2 * COLUMNS2
    scratch1_ptr = scratch_ptr + tl.program_id(0).to(tl.int64) * num_classes * (SIZE1 + SIZE2)
    scratch2_ptr = scratch1_ptr + num_classes * SIZE1

    for tile in range(tl.program_id(0), batch * tiles_y * tiles_x, tl.num_programs(0)):
        n = (tile // (tiles_y * tiles_x)).to(tl.int64)
        cell_y = first_cell_y + tile // tiles_x % tiles_y * CELLS_Y
        cell_x = first_cell_x + tile % tiles_x * CELLS_X
        y2 = tl.maximum(cell_y - (ROWS2 - CELLS_Y), 0)
        x2 = tl.maximum(cell_x - (COLUMNS2 - CELLS_X), 0)
        if LEVELS == 2:
            y1 = first_entry(y2, offset2_y, KERNEL2, STRIDE2)
            x1 = first_entry(x2, offset2_x, KERNEL2, STRIDE2)
            refine_tile(
                scratch1_ptr,
                scores_ptr + n * stride_sn,
                skip1_ptr + n * stride_1n,
                weight1_ptr,
                bias1_ptr,
                taps1_ptr,
                scale1,
                num_classes,
                channels1,
                y1,
                x1,
                height1,
                width1,
                height0,
                width0,
                offset1_y,
                offset1_x,
                skip1_y,
                skip1_x,
                stride_sc,
                stride_sh,
                stride_sw,
                stride_1c,
                stride_1h,
                stride_1w,
                ROWS1,
                COLUMNS1,
                KERNEL1,
                STRIDE1,
                KIND1,
                PRECISION,
                BLOCK_P1,
                BLOCK_C,
                BLOCK_K,
            )
            tl.debug_barrier()  # the level is written before any thread reads it
            coarse2_ptr = scratch1_ptr - (y1 * COLUMNS1 + x1)
            stride_cc = SIZE1
            stride_ch = COLUMNS1
            stride_cw = 1
        else:
            coarse2_ptr = scores_ptr + n * stride_sn
            stride_cc = stride_sc
            stride_ch = stride_sh
            stride_cw = stride_sw
        refine_tile(
            scratch2_ptr,
            coarse2_ptr,
            skip2_ptr + n * stride_2n,
            weight2_ptr,
            bias2_ptr,
            taps2_ptr,
            scale2,
            num_classes,
            channels2,
            y2,
            x2,
            height2,
            width2,
            height1,
            width1,
            offset2_y,
            offset2_x,
            skip2_y,
            skip2_x,
            stride_cc,
            stride_ch,
            stride_cw,
            stride_2c,
            stride_2h,
            stride_2w,
            ROWS2,
            COLUMNS2,
            KERNEL2,
            STRIDE2,
            KIND2,
            PRECISION,
            BLOCK_P2,
            BLOCK_C,
            BLOCK_K,
        )
        tl.debug_barrier()
        label_tile(
            scratch2_ptr - (y2 * COLUMNS2 + x2),
            taps_ptr,
            labels_ptr + n * stride_ln,
            confidence_ptr + n * stride_pn,
            num_classes,
            cell_y,
            cell_x,
            height2,
            width2,
            out_height,
            out_width,
            offset_y,
            offset_x,
            stride_lh,
            stride_lw,
            stride_ph,
            stride_pw,
            SIZE2,
            COLUMNS2,
            KERNEL,
            STRIDE,
            KIND,
            CONFIDENCE,
            CELLS_Y,
            CELLS_X,
            BLOCK_C,
            BLOCK_Q,
        )
        tl.debug_barrier()  # all have read the scratch before the next tile overwrites it
