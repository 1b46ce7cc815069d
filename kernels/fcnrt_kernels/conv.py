"""Convolution of stride 1, bias, ReLU and 2x2 max-pool in one pass over NHWC maps.

    full[n,y,x,o] = relu(bias[o] + sum_(r,s,c) weight[r,s,o,c] * input[n, y + origin_y + r, x + origin_x + s, c])
    out[n,y,x,o]  = full[n,y,x,o], or the maximum of full[n, 2y:2y+2, 2x:2x+2, o] as far as it exists

An input position outside ``x`` reads zero: with origin ``(-1, -1)`` that is the padding of a 3x3 layer of VGG
(Simonyan, Zisserman 2014). ``x`` may be a view of a larger buffer whose ring holds what lies beyond the rectangle to
compute, and ``out`` the rectangle of another: nothing outside of it is written. A 1x1 layer is a kernel of one tap, and
``fc6`` of ``voc-fcn8s/net.py`` one of 7x7 without padding.

On sm_90 and sm_100 tensor descriptors feed the tensor cores; elsewhere, and where a pixel is no multiple of 16 bytes,
pointers do. Sums that leave a GPU half empty are split: each part goes to a workspace, and a second kernel adds the
parts up in a fixed order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fcnrt_kernels import gpu, launch, reference_conv, tables
from fcnrt_kernels.checks import check_conv, check_nhwc_out
from fcnrt_kernels.conv_config import why_invalid
from fcnrt_kernels.conv_launch import launch_conv
from fcnrt_kernels.conv_problem import ConvConfig, ConvProblem
from fcnrt_kernels.op import Op


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    size: Sequence[int],
    origin: Sequence[int] = (0, 0),
    relu: bool = True,
    pool: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Convolve a window of ``x``.

    Args:
        x: ``[N,H,W,C]``; float32, float16 or bfloat16, channels next to each other, other strides any.
        weight: ``[rows,columns,O,C]`` in x's type, contiguous (``packing.pack_conv``).
        bias: ``[O]``, contiguous floats.
        size: rows and columns to convolve, before the pool.
        origin: first row and column of ``x`` that the first output reads; negative where that lies in the padding.
        relu: take negative results to zero.
        pool: 2x2 max-pool with stride 2 that starts at the first output; the last window of an odd size is cut short.
        out: where to write, ``[N,*size,O]`` or half as many rows and columns, rounded up; x's type, channels next to
            each other. It may be part of a larger buffer, and must not overlap what is read of ``x``.

    Returns:
        ``out``, or a new contiguous tensor.

    Raises:
        ValueError: shapes, types, strides or devices that do not fit each other.
    """
    args = (x, weight, bias, list(origin), list(size), relu, pool)
    if out is None:
        return _OP(*args)  # type: ignore[no-any-return]
    check_conv(*args)
    check_nhwc_out(out, out_shape(x, weight, size, pool), x.dtype, x.device)
    return _OP.into(out, *args)  # type: ignore[no-any-return]


def problem_of(
    x: Tensor, weight: Tensor, size: Sequence[int], pool: bool, *others: Tensor, exact: bool | None = None
) -> ConvProblem:
    """What decides over the tiles of a call; ``others`` are tensors whose alignment counts too."""
    if exact is None:
        exact = x.dtype == torch.float32 and launch.conv_precision() == "ieee"
    return ConvProblem(
        batch=x.shape[0],
        rows=size[0],
        columns=size[1],
        channels=x.shape[3],
        out_channels=weight.shape[2],
        kernel=(weight.shape[0], weight.shape[1]),
        dtype=str(x.dtype).removeprefix("torch."),
        pool=pool,
        alignment=min(map(alignment, (x, weight.flatten(0, 1), *others))),
        exact=exact,
    )


def run(
    config: ConvConfig,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    origin: Sequence[int],
    size: Sequence[int],
    relu: bool,
    pool: bool,
    out: Tensor,
) -> None:
    """Launch ``conv`` in the tiles of ``config``: for the tuner and for tests; arguments are as in ``conv``, checked.

    Raises:
        ValueError: the configuration is not valid for this problem on x's GPU.
    """
    problem, target = problem_of(x, weight, size, pool, out), gpu.target(x)
    if reason := why_invalid(config, problem, target):
        raise ValueError(f"{config} cannot run {problem} on sm_{target.capability}: {reason}")
    launch_conv(config, problem, target, x, weight, bias, origin, relu, out)


def out_shape(x: Tensor, weight: Tensor, size: Sequence[int], pool: bool) -> tuple[int, ...]:
    """The shape of ``conv``'s result."""
    rows, columns = ((length + 1) // 2 for length in size) if pool else size
    return x.shape[0], rows, columns, weight.shape[2]


def alignment(x: Tensor) -> int:
    """Bytes, at most 16, of which x's address and the strides of all but its last dimension are multiples."""
    strides = [stride for length, stride in zip(x.shape[:-1], x.stride()[:-1], strict=True) if length > 1]
    pixel = x.shape[-1]  # where nothing follows, as in a single pixel, what is read still ends with it
    aligned = math.gcd(16, x.data_ptr(), *(stride * x.element_size() for stride in (*strides, pixel)))
    return aligned if all(strides) else x.element_size()  # descriptors take no stride of 0


def _allocate(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    origin: Sequence[int],
    size: Sequence[int],
    relu: bool,
    pool: bool,
) -> Tensor:
    return x.new_empty(out_shape(x, weight, size, pool))


def _launch(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    origin: Sequence[int],
    size: Sequence[int],
    relu: bool,
    pool: bool,
    out: Tensor,
) -> None:
    problem, target = problem_of(x, weight, size, pool, out), gpu.target(x)
    config = tables.choose(problem, target).config
    launch_conv(config, problem, target, x, weight, bias, origin, relu, out)


_OP = Op(
    "conv",
    "(Tensor x, Tensor weight, Tensor bias, SymInt[] origin, SymInt[] size, bool relu, bool pool) -> Tensor",
    check=check_conv,
    twin=reference_conv.conv,
    allocate=_allocate,
    launch=_launch,
)
