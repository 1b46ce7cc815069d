"""The steps in 8 bits: weights in int8 with a scale for each output channel, activations in uint8 with one scale each.

ReLU leaves nothing below zero, so activations need no zero point, and the zeros of a padding are the code 0. The first
convolution runs in float32: it reads three channels, whose rounding all that follows would have to bear. oneDNN's
quantised convolution accumulates in int32 and writes the next layer's codes.

NaN has no code: in 8 bits it becomes a number.

Without VNNI, oneDNN adds pairs of products in 16 bits, which saturate; there weights are kept to 7 bits, so that
``2 * 255 * 63`` fits.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fcnrt.engine.planned.arena import Scratch
from fcnrt.engine.planned.plain import reading_area
from fcnrt.models import FCN
from fcnrt.plan.graph import Convolution, Graph, Image, MaxPool, Op
from fcnrt.plan.grouping import Group
from fcnrt.plan.lowering import NotLowerableError
from fcnrt.plan.schedule import Value

CODES = 255
"""The largest code of an activation."""


@dataclass(frozen=True)
class Quantized:
    """One packed convolution: float bias, int8 weights, and a scale for each output channel."""

    weight: Tensor
    scales: Tensor
    zero_points: Tensor
    bias: Tensor


class Int8Steps:
    """The packed convolutions of a net in 8 bits, and the steps that use them.

    Args:
        net: has the weights, in float32.
        graph: its trunk, lowered.
        largest: the largest activation of each layer, after ReLU, by the layer's name.

    Raises:
        NotLowerableError: the trunk has values that may be negative, or ops that have no 8-bit form.
    """

    def __init__(self, net: FCN, graph: Graph, largest: Mapping[str, float]) -> None:
        check_takes_8_bits(graph)
        self._net = net
        self._weight_codes = 127 if torch.cpu._is_vnni_supported() else 63
        self._scales: dict[str, float] = {}
        for op in graph:
            if isinstance(op, Convolution):
                self._scales[op.name] = max(largest[op.layer], 1e-12) / CODES
            elif isinstance(op, MaxPool):
                self._scales[op.name] = self._scales[op.source]
        self._packed: dict[str, Quantized] = {}

    def pack(self, op: Op) -> None:
        """Make the weights of ``op`` ready, if it is a convolution."""
        if not isinstance(op, Convolution) or op.layer in self._packed:
            return
        layer = self._net.get_submodule(op.layer)
        assert isinstance(layer, torch.nn.Conv2d)
        weight = layer.weight.detach().float()
        bias = weight.new_zeros(op.channels) if layer.bias is None else layer.bias.detach().float()
        if op.source not in self._scales:  # the image: in float32
            self._packed[op.layer] = Quantized(weight.contiguous(memory_format=torch.channels_last), bias, bias, bias)
            return
        scales = weight.abs().amax(dim=(1, 2, 3)).clamp_min(1e-30) / self._weight_codes
        codes = (weight / scales[:, None, None, None]).round().to(torch.int8)
        rows, columns = op.windows
        packed = torch.ops.onednn.qconv_prepack(
            codes,
            scales,
            self._scales[op.source],
            0,
            [rows.stride, columns.stride],
            [0, 0],
            [rows.dilation, columns.dilation],
            op.groups,
            None,
        )
        self._packed[op.layer] = Quantized(packed, scales, torch.zeros(op.channels, dtype=torch.long), bias)

    def reads_images(self, graph: Graph) -> bool:
        """They do: in float32, and padded as they are read."""
        return True

    def explain(self, op: Op, group: Group, values: Mapping[str, Value]) -> tuple[str, str]:
        """As ``fcnrt.engine.planned.Steps`` says."""
        if isinstance(op, Convolution) and op.source in self._scales:
            return "oneDNN int8", f"codes of {self._scales[op.source]:.3g} in, of {self._scales[op.name]:.3g} out"
        if isinstance(op, Image):
            return "none", "the first convolution reads the images as they are"
        return "torch", "in float32, then quantised" if isinstance(
            op, Convolution
        ) else "the largest code of each window"

    def feature(self, name: str, codes: Tensor) -> Tensor:
        """What the decoders read of value ``name``: float32."""
        return codes.float().mul_(self._scales[name])

    def run_group(
        self, group: Group, values: Mapping[str, Value], buffers: Mapping[str, Tensor], x: Tensor, scratch: Scratch
    ) -> None:
        """As ``fcnrt.engine.planned.Steps`` says."""
        op, last = group[0], values[group[-1].name]
        out = buffers[last.op.name][last.computed.index_in(last.stored)]
        convolutions = [member for member in group if isinstance(member, Convolution)]
        area = reading_area(op, values[op.name].computed)  # type: ignore[arg-type]  # a convolution or a pool
        source = values[op.source]  # type: ignore[union-attr]
        if isinstance(source.op, Image):
            rows, columns = area.within(source.computed)
            edges = (-columns.start, columns.stop - x.shape[3], -rows.start, rows.stop - x.shape[2])
            y = F.pad(x.float(), edges).contiguous(memory_format=torch.channels_last)
        else:
            kept = buffers[source.op.name][area.index_in(source.stored)]
            y = kept.permute(0, 3, 1, 2)
        for convolution in convolutions:
            y = self._convolve(convolution, y)
        if isinstance(group[-1], MaxPool):
            y = _pool_codes(group[-1], y)
        out.copy_(y.permute(0, 2, 3, 1))

    def _convolve(self, op: Convolution, x: Tensor) -> Tensor:
        """``[N,C,h,w]`` to codes ``[N,Co,h',w']``; without padding."""
        layer, scale = self._packed[op.layer], self._scales[op.name]
        stride, dilation = ([getattr(window, of) for window in op.windows] for of in ("stride", "dilation"))
        if x.dtype.is_floating_point:
            y = F.conv2d(x, layer.weight, layer.bias, stride, 0, dilation, op.groups)
            return y.div_(scale).round_().clamp_(0, CODES).to(torch.uint8)
        codes: Tensor = torch.ops.onednn.qconv2d_pointwise(
            x.contiguous(memory_format=torch.channels_last),
            self._scales[op.source],
            0,
            layer.weight,
            layer.scales,
            layer.zero_points,
            layer.bias,
            stride,
            [0, 0],
            dilation,
            op.groups,
            scale,
            0,
            torch.uint8,
            "relu",
            [],
            "",
        )
        return codes


def _pool_codes(op: MaxPool, codes: Tensor) -> Tensor:
    """``[N,C,h,w]`` to the largest of each window; torch's own pool takes no map of over 255 codes."""
    padding = []
    for window, size in zip(reversed(op.windows), reversed(codes.shape[2:]), strict=True):
        length = dataclasses.replace(window, padding=0).length(size)
        padding += [0, max(0, (length - 1) * window.stride + window.kernel - size)]
    if any(padding):  # a last window that is cut off: nothing is less than the code 0
        codes = F.pad(codes, padding)
    rows, columns = op.windows
    for axis, window in ((2, rows), (3, columns)):
        length = (codes.shape[axis] - window.kernel) // window.stride + 1
        taps = [codes.narrow(axis, tap, codes.shape[axis] - tap) for tap in range(window.kernel)]
        strided = [_every(part, axis, window.stride, length) for part in taps]
        codes = functools.reduce(torch.maximum, strided)
    return codes


def _every(codes: Tensor, axis: int, stride: int, length: int) -> Tensor:
    """Every ``stride``-th entry of an axis, ``length`` of them."""
    at = [slice(None)] * axis + [slice(0, (length - 1) * stride + 1, stride)]
    return codes[tuple(at)]


def check_takes_8_bits(graph: Graph) -> None:
    """Refuse a trunk that has no 8-bit form.

    Raises:
        NotLowerableError: naming the op, or what this build of torch lacks.
    """
    onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not onednn or not hasattr(torch.ops.onednn, "qconv_prepack"):
        raise NotLowerableError("this build of torch has no quantised convolutions of oneDNN")
    for op in graph:
        if isinstance(op, Convolution) and not op.relu:
            raise NotLowerableError(f"no ReLU follows {op.layer}, so its results may be negative")
        if not isinstance(op, (Image, Convolution, MaxPool)):
            raise NotLowerableError(f"{type(op).__name__} has no 8-bit form")
