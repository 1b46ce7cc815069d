"""One step of a schedule on a GPU: the ops of a group, from the buffers that it reads into the one that it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd

import torch
import torch.nn.functional as F
from torch import Tensor

from fcnrt.engine.gpu.selection import KernelChoice, find_obstacle, select_kernel
from fcnrt.engine.planned.arena import Scratch, normal_tensors
from fcnrt.engine.planned.plain import add, pool, reading_area, run_plain, view
from fcnrt.models import FCN
from fcnrt.plan.graph import Addition, Convolution, Graph, Image, MaxPool, Op, sources
from fcnrt.plan.grouping import Group
from fcnrt.plan.schedule import Schedule, Value
from fcnrt.preprocessing import Normalization
from fcnrt_kernels import conv, conv_first, gpu, launch, tables
from fcnrt_kernels.checks import DTYPES
from fcnrt_kernels.conv_problem import ConvProblem
from fcnrt_kernels.packing import pack_conv, pack_first, pack_normalization


@dataclass(frozen=True)
class Pixels:
    """How ``conv_first`` reads images that nobody normalised."""

    weights: Mapping[str, Tensor]
    """by layer, for the image's order of channels"""
    scale: Tensor
    shift: Tensor


class GPUSteps:
    """The packed convolutions of a net, and the steps that use them.

    Args:
        net: has the weights, on the device to run on.
        dtype: to compute in.
    """

    def __init__(self, net: FCN, dtype: torch.dtype) -> None:
        self._net = net
        self._dtype = dtype
        self._probe = next(net.parameters()).detach().new_empty(0)
        """Tells where the weights are."""
        self._obstacle = find_obstacle(self._probe)
        self._image = ""
        self._first_layers: dict[str, bool] = {}
        """Layer, or another op, that reads the images -> whether ``conv_first`` computes it."""
        self._packed: dict[str, tuple[Tensor, Tensor]] = {}
        """Weights as the kernels read them, and float biases; without those that torch convolves."""
        # Images come normalised, if not as pixels.
        self._scale = torch.ones(net.in_channels, dtype=torch.float32, device=self._probe.device)
        self._shift = torch.zeros(net.in_channels, dtype=torch.float32, device=self._probe.device)
        self._pixels: Pixels | None = None

    def pack(self, op: Op) -> None:
        """Make the weights of ``op`` ready, if it is a convolution that a kernel of ours computes."""
        if isinstance(op, Image):
            self._image = op.name
        if self._image in sources(op):
            first = isinstance(op, Convolution) and self.choose(op).kernel == "conv_first"
            self._first_layers[op.layer if isinstance(op, Convolution) else op.name] = first
        if not isinstance(op, Convolution) or op.layer in self._packed:
            return
        kernel = self.choose(op).kernel
        if kernel == "torch":
            return
        layer = self._net.get_submodule(op.layer)
        assert isinstance(layer.weight, Tensor)
        weight = layer.weight.detach()
        pack = pack_first if kernel == "conv_first" else pack_conv
        bias = layer.bias.detach() if isinstance(layer.bias, Tensor) else weight.new_zeros(op.channels)
        # The bias joins sums in float32, and keeps its bits.
        self._packed[op.layer] = pack(weight, self._dtype), bias.float().clone()

    def take_pixels(self, normalization: Normalization) -> bool:
        """Also read uint8 images from now on, RGB, ``[N,3,H,W]``, and normalise them on the way.

        Returns whether that is so: everything that reads the images must be ``conv_first``.
        """
        if normalization.channels != 3 or not all(self._first_layers.values()):
            return False
        order = (2, 1, 0) if normalization.order == "bgr" else None
        with normal_tensors():
            scale, shift = pack_normalization(normalization.scale, normalization.mean, normalization.std, order)
            # The weights take the image's order: they are a few kilobytes.
            weights = {
                layer: self._packed[layer][0] if order is None else self._packed[layer][0].flip(2)
                for layer in self._first_layers
            }
            self._pixels = Pixels(weights, scale.to(self._probe.device), shift.to(self._probe.device))
        return True

    def choose(self, op: Convolution) -> KernelChoice:
        """How ``op`` is computed at sizes that nobody measured."""
        return select_kernel(op, reads_image=op.source == self._image, dtype=self._dtype, obstacle=self._obstacle)

    def choose_at(self, op: Convolution, group: Group, values: Mapping[str, Value], images: int) -> KernelChoice:
        """How ``op`` is computed at its size in a schedule: what was measured there goes first."""
        choice = self.choose(op)
        if choice.kernel != "conv":
            return choice
        problem = self._problem(op, group, values, images)
        measured = tables.choose(problem, gpu.target(self._probe))
        if measured.cudnn_faster:
            return KernelChoice("torch", measured.reason)
        if problem.exact and self._probe.is_cuda and not measured.reason.startswith("measured"):
            # 35 ms against 12 for FCN-8s at 500x500, 545 against 135 for sixteen of them, on an H100.
            return KernelChoice(
                "torch", "exact float32: no tensor core forms such products, and cuDNN's code is faster"
            )
        return KernelChoice("conv", f"{measured.config}; {measured.reason}")

    def reads_images(self, graph: Graph) -> bool:
        """As ``fcnrt.engine.planned.Steps`` says."""
        readers = graph.readers()[graph.image.name]
        return all(isinstance(op, Convolution) and self.choose(op).kernel == "conv_first" for op in readers)

    def explain(self, op: Op, group: Group, values: Mapping[str, Value]) -> tuple[str, str]:
        """As ``fcnrt.engine.planned.Steps`` says."""
        if isinstance(op, Convolution):
            choice = self.choose_at(op, group, values, 1)
            names = {"conv": "Triton conv", "conv_first": "Triton conv_first", "torch": "cuDNN"}
            return names[choice.kernel], choice.reason
        if op is not group[0]:
            convolution = group[0]
            assert isinstance(convolution, Convolution)
            if self.choose_at(convolution, group, values, 1).kernel == "conv" and _fuses(op):
                return "Triton conv", "in its convolution's pass"
            return "torch", "behind its convolution"
        if isinstance(op, Image):
            readers = [value.op for value in values.values() if isinstance(value.op, Convolution)]
            first = [reader for reader in readers if reader.source == op.name]
            if first and all(self.choose(reader).kernel == "conv_first" for reader in first):
                return "none", "the first convolution reads the images as they are"
        return "torch", "as it is"

    def feature(self, name: str, x: Tensor) -> Tensor:
        """As it is."""
        return x

    def run_group(
        self, group: Group, values: Mapping[str, Value], buffers: Mapping[str, Tensor], x: Tensor, scratch: Scratch
    ) -> None:
        """As ``fcnrt.engine.planned.Steps`` says."""
        op, last = group[0], values[group[-1].name]
        out = view(buffers, last, last.computed)
        if not out.numel():
            return
        if isinstance(op, Convolution):
            assert len(group) == 1 or not isinstance(group[1], Convolution), "convolutions are not chained on a GPU"
            self._convolve(op, group, values, buffers, x, out)
        else:
            run_plain(op, values, buffers, x, out)

    def _convolve(
        self,
        op: Convolution,
        group: Group,
        values: Mapping[str, Value],
        buffers: Mapping[str, Tensor],
        x: Tensor,
        out: Tensor,
    ) -> None:
        tail = None if group[-1] is op else group[-1]
        kernel = self.choose_at(op, group, values, x.shape[0]).kernel
        area = values[op.name].computed
        fused = tail is not None and kernel == "conv" and _fuses(tail)
        # What an addition joins is written where their sum will be.
        whole = tail is not None and not fused and not isinstance(tail, Addition)
        result = out.new_empty(out.shape[0], area.height, area.width, op.channels) if whole else out
        if kernel == "torch":
            self._convolve_in_torch(op, values, buffers, result)
        else:
            weight, bias = self._packed[op.layer]
            reads = reading_area(op, area)
            size = (area.height, area.width)
            if kernel == "conv_first":
                image = values[op.source].op
                assert isinstance(image, Image)
                scale, shift = self._scale, self._shift
                if x.dtype == torch.uint8:
                    assert self._pixels is not None, "nobody said how to normalise pixels"
                    weight, scale, shift = self._pixels.weights[op.layer], self._pixels.scale, self._pixels.shift
                elif x.dtype not in DTYPES:
                    x = x.float()
                conv_first(
                    x.permute(0, 2, 3, 1),
                    weight,
                    bias,
                    size=size,
                    scale=scale,
                    shift=shift,
                    origin=(reads.rows.begin - image.padding[0], reads.columns.begin - image.padding[1]),
                    stride=op.windows[0].stride,
                    relu=op.relu,
                    out=result,
                )
            else:
                stored = values[op.source].stored
                conv(
                    buffers[op.source],
                    weight,
                    bias,
                    size=size,
                    origin=(reads.rows.begin - stored.rows.begin, reads.columns.begin - stored.columns.begin),
                    relu=op.relu,
                    pool=fused,
                    out=result,
                )
        if isinstance(tail, Addition):
            other = values[tail.right if tail.left == op.name else tail.left]
            add(tail, result, view(buffers, other, values[tail.name].computed), out)
        elif whole:
            assert isinstance(tail, MaxPool)
            out.copy_(pool(tail, result, ceil=True))

    def _convolve_in_torch(
        self, op: Convolution, values: Mapping[str, Value], buffers: Mapping[str, Tensor], result: Tensor
    ) -> None:
        layer = self._net.get_submodule(op.layer)
        assert isinstance(layer.weight, Tensor)
        weight = layer.weight.to(dtype=self._dtype, memory_format=torch.channels_last)
        bias = layer.bias.to(self._dtype) if isinstance(layer.bias, Tensor) else None
        rows, columns = op.windows
        source = view(buffers, values[op.source], reading_area(op, values[op.name].computed)).permute(0, 3, 1, 2)
        strides, dilations = (rows.stride, columns.stride), (rows.dilation, columns.dilation)
        y = F.conv2d(source, weight, bias, strides, 0, dilations, op.groups)
        result.copy_((y.relu_() if op.relu else y).permute(0, 2, 3, 1))

    def problems(self, schedule: Schedule, images: int) -> list[ConvProblem]:
        """The convolutions of ``schedule`` that ``fcnrt_kernels.conv`` computes, as it will see them."""
        return [
            self._problem(op, group, schedule.values, images)
            for group in schedule.groups
            for op in group
            if isinstance(op, Convolution) and self.choose(op).kernel == "conv"
        ]

    def _problem(self, op: Convolution, group: Group, values: Mapping[str, Value], images: int) -> ConvProblem:
        """As ``fcnrt_kernels.conv`` will see it: buffers begin at multiples of 64 elements."""
        area, itemsize = values[op.name].computed, self._dtype.itemsize
        return ConvProblem(
            batch=images,
            rows=area.height,
            columns=area.width,
            channels=op.in_channels,
            out_channels=op.channels,
            kernel=(op.windows[0].kernel, op.windows[1].kernel),
            dtype=str(self._dtype).removeprefix("torch."),
            pool=_fuses(group[-1]),
            alignment=gcd(16, op.in_channels * itemsize, op.channels * itemsize),
            exact=self._dtype == torch.float32 and launch.conv_precision() == "ieee",
        )


def _fuses(tail: Op) -> bool:
    """Whether ``conv`` pools as ``tail`` does."""
    return isinstance(tail, MaxPool) and all((window.kernel, window.stride) == (2, 2) for window in tail.windows)
