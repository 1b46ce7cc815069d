"""One tile of a convolution: where it lies, how its sums become results, and how those leave."""

import triton
import triton.language as tl


@triton.jit
def locate(
    item,
    tiles_m,
    tiles_n,
    tiles_y,
    tiles_x,
    POSITIONS_FIRST: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """The split, image, first channel, row and column of a piece of work, and the number of its position tile.

    Pieces that run side by side share their weights (``POSITIONS_FIRST``) or their positions.
    """
    tile = item % (tiles_m * tiles_n)
    if POSITIONS_FIRST:
        tile_m = tile // tiles_n
        tile_n = tile % tiles_n
    else:
        tile_m = tile % tiles_m
        tile_n = tile // tiles_m
    n = tile_n // (tiles_y * tiles_x)
    y = (tile_n // tiles_x) % tiles_y * BLOCK_Y
    x = tile_n % tiles_x * BLOCK_X
    return item // (tiles_m * tiles_n), n, tile_m * BLOCK_M, y, x, tile_n


@triton.jit
def finish(
    acc,  # [BLOCK_M, BLOCK_Y * BLOCK_X], float32
    bias_ptr,
    m,
    y,
    x,
    out_channels,
    rows,
    columns,
    RELU: tl.constexpr,
    POOL: tl.constexpr,
    CLIP: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    """Pool, bias, ReLU: ``[BLOCK_M, positions]``, a quarter of them after a pool.

    The pool comes first, as ``relu(max(x) + b) == max(relu(x + b))``. ``CLIP`` takes away positions that do not exist,
    which the windows at an odd edge reach for.
    """
    if POOL:
        if CLIP:
            p = tl.arange(0, BLOCK_Y * BLOCK_X)
            exists = (y + p // BLOCK_X < rows) & (x + p % BLOCK_X < columns)
            acc = tl.where(exists[None, :], acc, float("-inf"))
        left, right = tl.split(acc.reshape(BLOCK_M, BLOCK_Y // 2, 2, BLOCK_X // 2, 2))
        acc = tl.maximum(left, right, propagate_nan=tl.PropagateNan.ALL)
        upper, lower = tl.split(acc.permute(0, 1, 3, 2))
        acc = tl.maximum(upper, lower, propagate_nan=tl.PropagateNan.ALL).reshape(BLOCK_M, BLOCK_Y * BLOCK_X // 4)
    offs_m = m + tl.arange(0, BLOCK_M)
    acc += tl.load(bias_ptr + offs_m, mask=offs_m < out_channels, other=0.0).to(tl.float32)[:, None]
    if RELU:
        acc = tl.maximum(acc, 0.0, propagate_nan=tl.PropagateNan.ALL)
    return acc


@triton.jit
def halves(tile, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """The first and the second half of the positions.

    What leaves a tile passes through shared memory. A part at a time leaves room there for another stage of operands;
    all parts of a row belong to the thread that has the row, so that taking them apart costs nothing.
    """
    return tile.reshape(BLOCK_M, 2, BLOCK_N // 2).permute(0, 2, 1).split()


@triton.jit
def store_partial(
    acc,
    workspace_ptr,
    split,
    tile_n,
    m,
    tiles_n,
    tiles_m,
    PARTS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """One split's sums, whole tiles after one another: ``[splits, tiles_n, tiles_m * BLOCK_M, BLOCK_N]``."""
    row = (split * tiles_n + tile_n).to(tl.int64) * (tiles_m * BLOCK_M) + m
    pointers = workspace_ptr + row * BLOCK_N + tl.arange(0, BLOCK_M)[:, None] * BLOCK_N
    PART: tl.constexpr = BLOCK_N // PARTS
    pointers += tl.arange(0, PART)[None, :]
    if PARTS == 1:
        tl.store(pointers, acc)
    else:
        first, second = halves(acc, BLOCK_M, BLOCK_N)
        if PARTS == 2:
            tl.store(pointers, first)
            tl.store(pointers + PART, second)
        else:
            first, next = halves(first, BLOCK_M, BLOCK_N // 2)
            tl.store(pointers, first)
            tl.store(pointers + PART, next)
            first, next = halves(second, BLOCK_M, BLOCK_N // 2)
            tl.store(pointers + 2 * PART, first)
            tl.store(pointers + 3 * PART, next)


@triton.jit
def store_positions(
    values,  # [BLOCK_M, BLOCK_Y * BLOCK_X]
    out_ptr,
    n,
    m,
    y,
    x,
    out_channels,
    rows,
    columns,
    stride_n,
    stride_h,
    stride_w,
    BLOCK_M: tl.constexpr,
    BLOCK_Y: tl.constexpr,
    BLOCK_X: tl.constexpr,
):
    p = tl.arange(0, BLOCK_Y * BLOCK_X)
    y += p // BLOCK_X
    x += p % BLOCK_X
    offs_m = m + tl.arange(0, BLOCK_M)
    mask = ((y < rows) & (x < columns))[:, None] & (offs_m < out_channels)[None, :]
    out_ptr += n.to(tl.int64) * stride_n + y[:, None].to(tl.int64) * stride_h
    tl.store(out_ptr + x[:, None] * stride_w + offs_m[None, :], values.T.to(out_ptr.dtype.element_ty), mask=mask)
