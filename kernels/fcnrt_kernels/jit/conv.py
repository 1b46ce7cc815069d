"""Convolution of stride 1 over NHWC: weights are the left operand, activations the transposed right one.

A tile is ``BLOCK_M`` output channels by ``BLOCK_Y`` rows of ``BLOCK_X`` positions. The sum runs over channel blocks,
and within one over the taps, which read the same lines of the cache again. With the positions in the columns of the
accumulator the four inputs of a 2x2 pool belong to one thread.
"""

import triton
import triton.language as tl

from fcnrt_kernels.jit.conv_tile import finish, halves, locate, store_partial, store_positions
from fcnrt_kernels.jit.sizes import SIZES


@triton.jit(do_not_specialize=SIZES)
def conv_descriptor_kernel(
    x_desc,  # [N, H, W, C], box [1, BLOCK_Y, BLOCK_X, BLOCK_K]; zeros outside
    weight_desc,  # [KH * KW, Cout, C], box [1, BLOCK_M, BLOCK_K]
    out_desc,  # [N, rows, columns, Cout], pooled if POOL; box [1, rows of a tile or part, columns of a tile, BLOCK_M]
    bias_ptr,
    workspace_ptr,
    out_channels,
    rows,  # of the convolution, before the pool
    columns,
    origin_y,
    origin_x,
    tiles_m,
    tiles_n,
    tiles_y,
    tiles_x,
    splits,
    steps,  # of the sum, in one split
    KH: tl.constexpr,
    KW: tl.constexpr,
    RELU: tl.constexpr,
    POOL: tl.constexpr,
    CLIP: tl.constexpr,
    SPLIT: tl.constexpr,
    POSITIONS_FIRST: tl.constexpr,
    PRECISION: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Persistent; everything but the bias moves through tensor descriptors, and both operands stay in shared memory."""
    for item in tl.range(tl.program_id(0), tiles_m * tiles_n * splits, tl.num_programs(0), flatten=True):
        split, n, m, y, x, tile_n = locate(
            item, tiles_m, tiles_n, tiles_y, tiles_x, POSITIONS_FIRST, BLOCK_M, BLOCK_Y, BLOCK_X
        )
        acc = tl.zeros([BLOCK_M, BLOCK_Y * BLOCK_X], dtype=tl.float32)
        for i in range(steps):
            # Past the last channel block both operands are zero: the last split may be as long as the others.
            k = split * steps + i
            tap = k % (KH * KW)
            c = k // (KH * KW) * BLOCK_K
            weight = weight_desc.load([tap, m, c]).reshape(BLOCK_M, BLOCK_K)
            window = x_desc.load([n, y + origin_y + tap // KW, x + origin_x + tap % KW, c])
            window = window.reshape(BLOCK_Y * BLOCK_X, BLOCK_K)
            acc = tl.dot(weight, window.T, acc, input_precision=PRECISION)
        if SPLIT:
            store_partial(acc, workspace_ptr, split, tile_n, m, tiles_n, tiles_m, PARTS, BLOCK_M, BLOCK_Y * BLOCK_X)
        else:
            SHRINK: tl.constexpr = 2 if POOL else 1
            values = finish(
                acc, bias_ptr, m, y, x, out_channels, rows, columns, RELU, POOL, CLIP, BLOCK_M, BLOCK_Y, BLOCK_X
            ).to(out_desc.dtype)
            if PARTS == 2:
                upper, lower = halves(values, BLOCK_M, BLOCK_Y * BLOCK_X)
                out_desc.store([n, y, x, m], upper.T.reshape(1, BLOCK_Y // 2, BLOCK_X, BLOCK_M))
                out_desc.store([n, y + BLOCK_Y // 2, x, m], lower.T.reshape(1, BLOCK_Y // 2, BLOCK_X, BLOCK_M))
            else:
                values = values.T.reshape(1, BLOCK_Y // SHRINK, BLOCK_X // SHRINK, BLOCK_M)
                out_desc.store([n, y // SHRINK, x // SHRINK, m], values)


@triton.jit(do_not_specialize=SIZES)
def conv_pointer_kernel(
    x_ptr,
    weight_ptr,
    out_ptr,
    bias_ptr,
    workspace_ptr,
    channels,
    out_channels,
    height,
    width,
    rows,  # of the convolution, before the pool
    columns,
    origin_y,
    origin_x,
    stride_xn,
    stride_xh,
    stride_xw,
    stride_on,
    stride_oh,
    stride_ow,
    tiles_m,
    tiles_n,
    tiles_y,
    tiles_x,
    steps,  # of the sum, in one split
    KH: tl.constexpr,
    KW: tl.constexpr,
    RELU: tl.constexpr,
    POOL: tl.constexpr,
    CLIP: tl.constexpr,
    SPLIT: tl.constexpr,
    POSITIONS_FIRST: tl.constexpr,
    PRECISION: tl.constexpr,
    ALIGN: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """The same with pointers, one piece of work a program: for GPUs and for strides that descriptors do not take."""
    # Says to the compiler what the launch has checked: so many elements can be read at once.
    channels = channels // ALIGN * ALIGN
    stride_xn = stride_xn // ALIGN * ALIGN
    stride_xh = stride_xh // ALIGN * ALIGN
    stride_xw = stride_xw // ALIGN * ALIGN

    split, n, m, y, x, tile_n = locate(
        tl.program_id(0), tiles_m, tiles_n, tiles_y, tiles_x, POSITIONS_FIRST, BLOCK_M, BLOCK_Y, BLOCK_X
    )
    p = tl.arange(0, BLOCK_Y * BLOCK_X)
    in_y = y + origin_y + p // BLOCK_X
    in_x = x + origin_x + p % BLOCK_X
    offs_m = m + tl.arange(0, BLOCK_M)
    offs_k = tl.arange(0, BLOCK_K)
    # Of the first tap, which may lie before the first row: no such address is read.
    x_ptrs = x_ptr + n.to(tl.int64) * stride_xn + (in_y.to(tl.int64) * stride_xh + in_x.to(tl.int64) * stride_xw)
    x_ptrs = x_ptrs[:, None] + offs_k[None, :]
    weight_ptrs = weight_ptr + offs_m[:, None].to(tl.int64) * channels + offs_k[None, :]
    tap_size = tl.cast(out_channels, tl.int64) * channels  # a number where there is one output channel
    mask_m = (offs_m < out_channels)[:, None]

    acc = tl.zeros([BLOCK_M, BLOCK_Y * BLOCK_X], dtype=tl.float32)
    for i in range(steps):
        k = split * steps + i
        tap = k % (KH * KW)
        c = k // (KH * KW) * BLOCK_K
        tap_y = tap // KW
        tap_x = tap % KW
        mask_k = (c + offs_k < channels)[None, :]
        inside = (in_y + tap_y >= 0) & (in_y + tap_y < height) & (in_x + tap_x >= 0) & (in_x + tap_x < width)
        weight = tl.load(weight_ptrs + (tap * tap_size + c), mask=mask_m & mask_k, other=0.0)
        offset = tap_y.to(tl.int64) * stride_xh + (tap_x * stride_xw + c)
        window = tl.load(x_ptrs + offset, mask=inside[:, None] & mask_k, other=0.0)
        acc = tl.dot(weight, window.T, acc, input_precision=PRECISION)
    if SPLIT:
        store_partial(acc, workspace_ptr, split, tile_n, m, tiles_n, tiles_m, 1, BLOCK_M, BLOCK_Y * BLOCK_X)
    else:
        SHRINK: tl.constexpr = 2 if POOL else 1
        values = finish(
            acc, bias_ptr, m, y, x, out_channels, rows, columns, RELU, POOL, CLIP, BLOCK_M, BLOCK_Y, BLOCK_X
        )
        store_positions(
            values,
            out_ptr,
            n,
            m,
            y // SHRINK,
            x // SHRINK,
            out_channels,
            (rows + SHRINK - 1) // SHRINK,
            (columns + SHRINK - 1) // SHRINK,
            stride_on,
            stride_oh,
            stride_ow,
            BLOCK_M,
            BLOCK_Y // SHRINK,
            BLOCK_X // SHRINK,
        )


@triton.jit(do_not_specialize=SIZES)
def conv_reduce_kernel(
    workspace_ptr,  # [splits, tiles_n, padded_channels, BLOCK_Y * BLOCK_X]
    out_ptr,
    bias_ptr,
    out_channels,
    padded_channels,
    rows,
    columns,
    stride_on,
    stride_oh,
    stride_ow,
    tiles_n,
    tiles_y,
    tiles_x,
    splits,
    RELU: tl.constexpr,
    POOL: tl.constexpr,
    CLIP: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """Adds up the splits, always in the same order, and finishes: one tile of positions, some of its channels."""
    BLOCK_N: tl.constexpr = BLOCK_Y * BLOCK_X
    _, n, _, y, x, tile_n = locate(tl.program_id(0), 1, tiles_n, tiles_y, tiles_x, True, BLOCK_M, BLOCK_Y, BLOCK_X)
    m = tl.program_id(1) * BLOCK_M
    acc = tl.zeros([BLOCK_M, BLOCK_N], dtype=tl.float32)
    block = tl.arange(0, BLOCK_M)[:, None] * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
    for split in range(splits):
        row = (split * tiles_n + tile_n).to(tl.int64) * padded_channels + m
        acc += tl.load(workspace_ptr + row * BLOCK_N + block)
    SHRINK: tl.constexpr = 2 if POOL else 1
    values = finish(acc, bias_ptr, m, y, x, out_channels, rows, columns, RELU, POOL, CLIP, BLOCK_M, BLOCK_Y, BLOCK_X)
    store_positions(
        values,
        out_ptr,
        n,
        m,
        y // SHRINK,
        x // SHRINK,
        out_channels,
        (rows + SHRINK - 1) // SHRINK,
        (columns + SHRINK - 1) // SHRINK,
        stride_on,
        stride_oh,
        stride_ow,
        BLOCK_M,
        BLOCK_Y // SHRINK,
        BLOCK_X // SHRINK,
    )
