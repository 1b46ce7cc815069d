"""The first convolution: a uint8 or float image is normalised while it is read, convolved, biased, rectified.

    normal[n,y,x,c] = image[n,y,x,c] * scale[c] + shift[c]  inside the image, zero outside of it
    out[n,y,x,o] = relu(bias[o] + sum_(r,s,c) weight[r,s,c,o]
                                  * normal[n, y * stride + origin_y + r, x * stride + origin_x + s, c])

``conv1_1`` of ``voc-fcn8s/net.py``, which pads the image by 100 pixels: origin ``(-100, -100)``. The layer is bound by
writing its output (64 channels for 3), so the image is neither converted nor padded nor laid out in memory first. The
layer behind it stays a kernel of its own: in one kernel each of its nine taps would compute this layer again, half as
much work as it has itself, to save 128 bytes a position.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fcnrt_kernels import reference_conv
from fcnrt_kernels.checks import DTYPES, check_bias, check_devices, check_nhwc_out, check_positions
from fcnrt_kernels.config import FirstTile, select_first_tile
from fcnrt_kernels.launch import cdiv, conv_precision, on_device
from fcnrt_kernels.op import Op

MOST_CHANNELS = 16
"""Of the image; more fill a line of memory, and ``conv`` takes them."""


def conv_first(
    image: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    size: Sequence[int],
    scale: Tensor | None = None,
    shift: Tensor | None = None,
    origin: Sequence[int] = (0, 0),
    stride: int = 1,
    relu: bool = True,
    out: Tensor | None = None,
) -> Tensor:
    """Convolve an image that is normalised on the way.

    Args:
        image: ``[N,H,W,C]``, uint8, float32, float16 or bfloat16, at most 16 channels; any strides, so that
            ``x.permute(0, 2, 3, 1)`` makes one of ``[N,C,H,W]``.
        weight: ``[rows,columns,C,O]``, contiguous (``packing.pack_first``); its type is what the layer computes in.
        bias: ``[O]``, contiguous floats.
        size: rows and columns of the output.
        scale, shift: float32 ``[C]``, contiguous (``packing.pack_normalization``); None for an image that is
            normalised already.
        origin: first row and column of the image that the first output reads; negative in the padding.
        stride: image positions from one output to the next.
        relu: take negative results to zero.
        out: where to write, ``[N,*size,O]``, weight's type, channels next to each other; it may be part of a larger
            buffer.

    Returns:
        ``out``, or a new contiguous tensor.

    Raises:
        ValueError: shapes, types, strides or devices that do not fit each other.
    """
    channels = image.shape[-1]
    scale = torch.ones(channels, dtype=torch.float32, device=image.device) if scale is None else scale
    shift = torch.zeros(channels, dtype=torch.float32, device=image.device) if shift is None else shift
    args = (image, weight, bias, scale, shift, stride, list(origin), list(size), relu)
    if out is None:
        return _OP(*args)  # type: ignore[no-any-return]
    _check(*args)
    check_nhwc_out(out, (image.shape[0], *size, weight.shape[3]), weight.dtype, image.device)
    return _OP.into(out, *args)  # type: ignore[no-any-return]


def _check(
    image: Tensor,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    shift: Tensor,
    stride: int,
    origin: Sequence[int],
    size: Sequence[int],
    relu: bool,
) -> None:
    if image.ndim != 4 or 0 in image.shape[1:] or image.shape[3] > MOST_CHANNELS:
        raise ValueError(
            f"image has shape {list(image.shape)}; expected [N, height, width, channels], at most "
            f"{MOST_CHANNELS} channels"
        )
    if image.dtype not in (torch.uint8, *DTYPES):
        raise ValueError(f"image is {image.dtype}; expected uint8, float32, float16 or bfloat16")
    channels = image.shape[3]
    if weight.ndim != 4 or weight.shape[2] != channels or 0 in weight.shape:
        raise ValueError(f"weight has shape {list(weight.shape)}; expected [rows, columns, {channels}, out]")
    if weight.dtype not in DTYPES or not weight.is_contiguous():
        raise ValueError(f"weight is {weight.dtype}, strides {weight.stride()}; expected contiguous floats")
    for name, vector in (("scale", scale), ("shift", shift)):
        if tuple(vector.shape) != (channels,) or vector.dtype != torch.float32 or not vector.is_contiguous():
            raise ValueError(
                f"{name} is {vector.dtype} {list(vector.shape)}, strides {vector.stride()}; expected contiguous "
                f"float32 [{channels}]"
            )
    if stride < 1:
        raise ValueError(f"stride is {stride}; expected 1 or more")
    check_bias(bias, weight.shape[3])
    check_positions(origin, size)
    check_devices(image, weight=weight, bias=bias, scale=scale, shift=shift)


def _allocate(
    image: Tensor,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    shift: Tensor,
    stride: int,
    origin: Sequence[int],
    size: Sequence[int],
    relu: bool,
) -> Tensor:
    return weight.new_empty((image.shape[0], *size, weight.shape[3]))


def launch(
    image: Tensor,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor,
    shift: Tensor,
    stride: int,
    origin: Sequence[int],
    size: Sequence[int],
    relu: bool,
    out: Tensor,
    tile: FirstTile | None = None,
) -> None:
    """Launch the kernel; arguments are as in ``conv_first``, checked. A ``tile`` of one's own is for measurements."""
    from fcnrt_kernels.jit.conv_first import conv_first_kernel

    taps_y, taps_x, channels, out_channels = weight.shape
    exact = weight.dtype == torch.float32 and conv_precision() == "ieee"
    tile = tile or select_first_tile(taps_y * taps_x * channels, out_channels, exact=exact)
    blocks_c = cdiv(out_channels, tile.block_c)
    with on_device(image):
        conv_first_kernel[cdiv(size[0], tile.block_y) * blocks_c, cdiv(size[1], tile.block_x), image.shape[0]](
            image,
            weight,
            bias,
            scale,
            shift,
            out,
            out_channels,
            *image.shape[1:3],
            *size,
            *origin,
            *image.stride(),
            *out.stride()[:3],
            STRIDE=stride,
            KH=taps_y,
            KW=taps_x,
            CHANNELS=channels,
            PACKED=image.stride()[2:] == (channels, 1),
            RELU=relu,
            PRECISION="ieee" if exact else "tf32",
            BLOCKS_C=blocks_c,
            BLOCK_Y=tile.block_y,
            BLOCK_X=tile.block_x,
            BLOCK_C=tile.block_c,
            BLOCK_K=tile.block_k,
            num_warps=tile.num_warps,
            num_stages=1,  # there is nothing to load ahead where one step takes all terms
        )


_OP = Op(
    "conv_first",
    "(Tensor image, Tensor weight, Tensor bias, Tensor scale, Tensor shift, int stride, SymInt[] origin, "
    "SymInt[] size, bool relu) -> Tensor",
    check=_check,
    twin=reference_conv.conv_first,
    allocate=_allocate,
    launch=launch,
)
