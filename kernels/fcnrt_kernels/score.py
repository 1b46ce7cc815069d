"""Score a feature map with a 1x1 convolution whose weights keep more bits than the map has.

    out[n,c,y,x] = sum_k weight[c,k] * x[n,k, y + offset_y, x + offset_x] + bias[c]

``score_fr`` of ``voc-fcn8s/net.py`` (Long, Shelhamer, Darrell, section 4.1), the coarsest scores of every FCN. A label
hangs on them alone where nothing finer disagrees, so in 16 bits a weight is a sum of two numbers, and sums are float32.
With 4096 channels and few positions the sum is what there is to share out: each program takes a part of it, and a
second kernel adds the parts up in a fixed order.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fcnrt_kernels import launch, reference_conv
from fcnrt_kernels.checks import check_bias, check_devices, check_out, check_scores
from fcnrt_kernels.config import ScoreTile, select_score_tile
from fcnrt_kernels.op import Op


def score(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    size: Sequence[int],
    offset: Sequence[int] = (0, 0),
    out: Tensor | None = None,
) -> Tensor:
    """Score a window of ``x``.

    Args:
        x: feature map ``[N,K,H,W]``; float32, float16 or bfloat16, any strides.
        weight: ``[T,C,K]`` in x's type, contiguous: the terms that the weights are sums of (``packing.pack_score``).
        bias: ``[C]``, contiguous floats.
        size: rows and columns of the window.
        offset: its first row and column in ``x``.
        out: where to write, ``[N,C,*size]``, float32, any strides; a new tensor if None.

    Returns:
        ``out``: float32 ``[N,C,*size]``.

    Raises:
        ValueError: shapes, types, devices or windows that do not fit each other.
    """
    args = (x, weight, bias, list(offset), list(size))
    if out is None:
        return _OP(*args)  # type: ignore[no-any-return]
    _check(*args)
    check_out(out, _shape(x, weight, size), (torch.float32,), x.device)
    return _OP.into(out, *args)  # type: ignore[no-any-return]


def _check(
    x: Tensor, weight: Tensor, bias: Tensor, offset: Sequence[int], size: Sequence[int]
) -> None:  # fmt: skip
    check_scores("x", x)
    if weight.ndim != 3 or weight.shape[2] != x.shape[1] or 0 in weight.shape:
        raise ValueError(f"weight has shape {list(weight.shape)}; expected [terms, classes, {x.shape[1]}]")
    if weight.dtype != x.dtype or not weight.is_contiguous():
        raise ValueError(f"weight is {weight.dtype}, strides {weight.stride()}; expected contiguous {x.dtype}, as x is")
    check_bias(bias, weight.shape[1])
    for axis, edge, first, length in zip(("rows", "columns"), x.shape[2:], offset, size, strict=True):
        if first < 0 or length < 1 or first + length > edge:
            raise ValueError(f"the window takes {axis} {first} to {first + length} of a map that has {edge}")
    check_devices(x, weight=weight, bias=bias)


def _shape(x: Tensor, weight: Tensor, size: Sequence[int]) -> tuple[int, ...]:
    return x.shape[0], weight.shape[1], *size


def _allocate(x: Tensor, weight: Tensor, bias: Tensor, offset: Sequence[int], size: Sequence[int]) -> Tensor:
    return x.new_empty(_shape(x, weight, size), dtype=torch.float32)


def _launch(x: Tensor, weight: Tensor, bias: Tensor, offset: Sequence[int], size: Sequence[int], out: Tensor) -> None:
    _, classes, channels = weight.shape
    tile = select_score_tile(classes, channels, size[0] * size[1] * x.shape[0], x.element_size())
    run(tile, x, weight, bias, offset, size, out)


def run(
    tile: ScoreTile,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    offset: Sequence[int],
    size: Sequence[int],
    out: Tensor,
) -> None:
    """Launch ``score`` in a tile: for tests and measurements; arguments are as in ``score``, checked."""
    from fcnrt_kernels.jit.score import score_kernel, score_sum_kernel

    terms, classes, channels = weight.shape
    batch, pixels = x.shape[0], size[0] * size[1]
    partial = bias  # not read
    if tile.splits > 1:
        partial = x.new_empty((tile.splits, batch, classes, pixels), dtype=torch.float32)
    blocks = launch.cdiv(pixels, tile.block_p) * launch.cdiv(classes, tile.block_c)
    with launch.on_device(x):
        score_kernel[blocks, tile.splits, batch](
            x,
            weight,
            bias,
            out,
            partial,
            batch,
            classes,
            channels,
            *size,
            *offset,
            tile.splits,
            launch.cdiv(launch.cdiv(channels, tile.block_k), tile.splits),
            *x.stride(),
            *out.stride(),
            TERMS=terms,
            SPLIT=tile.splits > 1,
            PRECISION=launch.dot_precision(),
            BLOCK_P=tile.block_p,
            BLOCK_C=tile.block_c,
            BLOCK_K=tile.block_k,
            num_warps=tile.num_warps,
            num_stages=tile.num_stages,
            maxnreg=168,  # three programs on a multiprocessor; left to itself ptxas spills, to fit a fourth
        )
        if tile.splits > 1:
            block_p = 128
            score_sum_kernel[launch.cdiv(pixels, block_p), classes, batch](
                partial,
                bias,
                out,
                batch,
                classes,
                *size,
                tile.splits,
                *out.stride(),
                BLOCK_P=block_p,
                num_warps=4,
            )


_OP = Op(
    "score",
    "(Tensor x, Tensor weight, Tensor bias, SymInt[] offset, SymInt[] size) -> Tensor",
    check=_check,
    twin=reference_conv.score,
    allocate=_allocate,
    launch=_launch,
)
