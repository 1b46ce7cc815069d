"""Weights as the kernels read them: one function a layout, called once when a model is loaded."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def pack_conv(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Weights for ``conv``: tap by tap, each tap's matrix with the summed channels next to each other.

    Args:
        weight: ``[O,C,rows,columns]`` of an ``nn.Conv2d``, or ``[O,C]`` of a linear layer that looks at one position.
        dtype: what the layer computes in.

    Returns:
        ``[rows,columns,O,C]``, contiguous.

    Raises:
        ValueError: weights of another shape.
    """
    return _four(weight).permute(2, 3, 0, 1).to(dtype).contiguous()


def pack_first(weight: Tensor, dtype: torch.dtype, order: Sequence[int] | None = None) -> Tensor:
    """Weights for ``conv_first``: the few input channels outside, the output channels next to each other.

    Args:
        weight: ``[O,C,rows,columns]`` of an ``nn.Conv2d``.
        dtype: what the layer computes in.
        order: the image's channel that the net calls its first, its second, ...: ``(2, 1, 0)`` for a net that was
            trained on BGR and is given RGB; None where both agree.

    Returns:
        ``[rows,columns,C,O]``, contiguous, channels in the image's order.

    Raises:
        ValueError: weights of another shape, an order that is none.
    """
    weight = _four(weight)
    if order is not None:
        weight = weight[:, _inverse(order, weight.shape[1])]
    return weight.permute(2, 3, 1, 0).to(dtype).contiguous()


def pack_score(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Weights for ``score``: in 16 bits a sum of two numbers, which has up to twice the bits of one.

    In float16 the second is subnormal for small weights: of 0.01 it leaves an error of 2e-6, of 0.001 one of 2e-5.

    Args:
        weight: ``[C,K,1,1]`` or ``[C,K]``, float32.
        dtype: of the map that is scored.

    Returns:
        ``[T,C,K]``, contiguous, one term in float32, two in 16 bits, whose sum is ``weight`` as near as they come.

    Raises:
        ValueError: weights that look at more than one position.
    """
    if weight.ndim not in (2, 4) or any(side != 1 for side in weight.shape[2:]):
        raise ValueError(f"weight has shape {list(weight.shape)}; expected [classes, channels, 1, 1]")
    weight = weight.flatten(1)
    first = weight.to(dtype)
    if dtype.itemsize > 2:
        return first[None].contiguous()
    return torch.stack((first, (weight - first.to(weight.dtype)).to(dtype)))


def pack_normalization(
    scale: float, mean: Sequence[float], std: Sequence[float], order: Sequence[int] | None = None
) -> tuple[Tensor, Tensor]:
    """``(image * scale - mean) / std`` as ``image * factor + shift``, in the image's order of channels.

    Args:
        scale: multiplies the image's numbers; 1/255 where the net wants them from 0 to 1.
        mean, std: of each channel, in the net's order.
        order: as in ``pack_first``.

    Returns:
        factor and shift, float32 ``[C]``.

    Raises:
        ValueError: mean, std and order of different lengths, or a deviation of zero.
    """
    if len(mean) != len(std) or 0 in std:
        raise ValueError(f"mean is {list(mean)}, std is {list(std)}; expected as many of each, and no zero in std")
    deviation = torch.tensor(std, dtype=torch.float64)
    factor, shift = scale / deviation, -torch.tensor(mean, dtype=torch.float64) / deviation
    if order is not None:
        inverse = _inverse(order, len(mean))
        factor, shift = factor[inverse], shift[inverse]
    return factor.float(), shift.float()


def _four(weight: Tensor) -> Tensor:
    if weight.ndim == 2:
        return weight[:, :, None, None]
    if weight.ndim != 4:
        raise ValueError(f"weight has shape {list(weight.shape)}; expected [out, in, rows, columns] or [out, in]")
    return weight


def _inverse(order: Sequence[int], channels: int) -> list[int]:
    """The net's channel that is the image's first, its second, ..."""
    if sorted(order) != list(range(channels)):
        raise ValueError(f"order is {list(order)}; expected the numbers 0 to {channels - 1}, each once")
    return [list(order).index(channel) for channel in range(channels)]
