"""Convolutions through oneDNN and as one matrix product; all read what they need and pad nothing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fcnrt.engine.planned.arena import Scratch
from fcnrt.plan.graph import Convolution

UNFOLDED_ELEMENTS = 1 << 23
"""Most elements that a matrix convolution unfolds at once."""


class DirectConvolution:
    """oneDNN's own convolution with its bias; torch's own where oneDNN does not take the type.

    Weights are channels last, not in one of oneDNN's own layouts: those fit one input size, measured no faster at
    it, and up to five times slower at others.

    ReLU is a pass of its own over what was just written: oneDNN's fused one turns NaN into zero, which would make a
    broken image look like a good one, and measured no faster.

    Args:
        op: kernel, stride, dilation, groups.
        weight: ``[Co,C/groups,k,k]``.
        bias: ``[Co]``.
    """

    def __init__(self, op: Convolution, weight: Tensor, bias: Tensor) -> None:
        rows, columns = op.windows
        self._stride, self._dilation = (rows.stride, columns.stride), (rows.dilation, columns.dilation)
        self._groups, self._relu, self._bias = op.groups, op.relu, bias
        self._weight = weight.contiguous(memory_format=torch.channels_last)

    def __call__(self, x: Tensor) -> Tensor:
        """``[N,h,w,C]`` to a new ``[N,h',w',Co]``."""
        x = x.permute(0, 3, 1, 2)
        y = F.conv2d(x, self._weight, self._bias, self._stride, 0, self._dilation, self._groups)
        return (y.relu_() if self._relu else y).permute(0, 2, 3, 1)


class MatrixConvolution:
    """A convolution with stride 1 as one product of its weights, as they are, with the unfolded input.

    The weights are the left operand: they are the large one, and are read once.

    Args:
        weight: ``[Co,C,k,k]``, shared.
        bias: ``[Co]``.
        relu: cut at zero.
    """

    def __init__(self, weight: Tensor, bias: Tensor, relu: bool) -> None:
        self.kernel = (weight.shape[2], weight.shape[3])
        self._weight, self._bias, self._relu = weight.flatten(1), bias[:, None], relu

    def takes(self, height: int, width: int) -> bool:
        """Whether results of this size can be made: of any."""
        return True

    def __call__(self, x: Tensor, out: Tensor, scratch: Scratch) -> None:
        """``[N,h,w,C]`` into ``out``, ``[N,h',w',Co]``."""
        per_row = self._weight.shape[1] * out.shape[2]
        rows = max(1, UNFOLDED_ELEMENTS // per_row)
        images = max(1, rows // out.shape[1])
        for first in range(0, x.shape[0], images):
            for top in range(0, out.shape[1], rows):
                target = out[first : first + images, top : top + rows]
                source = x[first : first + images, top : top + target.shape[1] + self.kernel[0] - 1]
                self._multiply(source, target)

    def _multiply(self, x: Tensor, out: Tensor) -> None:
        channels_first = x.permute(0, 3, 1, 2).contiguous()
        unfolded = channels_first.flatten(2) if self.kernel == (1, 1) else F.unfold(channels_first, self.kernel)
        unfolded = unfolded.transpose(0, 1).flatten(1)
        y = torch.addmm(self._bias, self._weight, unfolded)
        y = y.relu_() if self._relu else y
        out.copy_(y.view(-1, out.shape[0], out.shape[1], out.shape[2]).permute(1, 2, 3, 0))
