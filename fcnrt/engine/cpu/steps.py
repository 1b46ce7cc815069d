"""One step of a schedule: the ops of a group, from the buffers that it reads into the one that it writes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from fcnrt.engine.cpu.convolution import DirectConvolution, MatrixConvolution
from fcnrt.engine.cpu.winograd import DilatedWinogradConvolution, WinogradConvolution
from fcnrt.engine.cpu.winograd_large import LargeWinogradConvolution
from fcnrt.engine.planned.arena import Scratch
from fcnrt.engine.planned.plain import add, pool, reading_area, run_plain, view
from fcnrt.models import FCN
from fcnrt.plan.graph import (
    Addition,
    Convolution,
    Graph,
    MaxPool,
    Op,
)
from fcnrt.plan.grouping import Group
from fcnrt.plan.schedule import Value
from fcnrt.plan.selection import LARGE_KERNEL, WINOGRAD_TILE, Choice, select_algorithm

CHAIN_ELEMENTS = 1 << 20
"""Of the widest map in a strip of several ops: what one writes, the next reads from the cache."""
SINGLE_ELEMENTS = 1 << 22
"""The same for one convolution, where a strip only bounds the memory that it takes beside its buffer."""


class Writing(Protocol):
    """A convolution that goes through a whole map by itself, and writes into a given one."""

    def takes(self, height: int, width: int) -> bool:
        """Whether it can make results of this size."""

    def __call__(self, x: Tensor, out: Tensor, scratch: Scratch) -> None:
        """``[N,h,w,C]`` into ``[N,h',w',Co]``."""


class CPUSteps:
    """The packed convolutions of a net, and the steps that use them.

    Args:
        net: has the weights.
        dtype: to compute in.
    """

    def __init__(self, net: FCN, dtype: torch.dtype) -> None:
        self._net = net
        self._dtype = dtype
        self._capability = torch.backends.cpu.get_cpu_capability()
        self._writing: dict[str, tuple[Writing, ...]] = {}
        """Of each layer, best first: the first that takes a map computes it."""
        self._direct: dict[str, DirectConvolution] = {}
        self._lock = threading.Lock()

    def choose(self, op: Convolution) -> Choice:
        """How ``op`` is computed, where the map is large enough."""
        exact = self._dtype in (torch.float32, torch.float64)
        return select_algorithm(op, exact=exact, capability=self._capability)

    def pack(self, op: Op) -> None:
        """Make the weights of ``op`` ready, if it is a convolution."""
        if not isinstance(op, Convolution) or op.layer in self._writing:
            return
        choice = self.choose(op).algorithm
        if choice == "direct":
            self.direct(op)
            return
        weight, bias = self._parameters(op)
        dilation = op.windows[0].dilation
        if choice == "matrix":
            self._writing[op.layer] = (MatrixConvolution(weight, bias, op.relu),)
        elif op.windows[0].kernel == LARGE_KERNEL:
            large = LargeWinogradConvolution(weight, bias, op.relu)
            self._writing[op.layer] = large, MatrixConvolution(weight, bias, op.relu)
        elif dilation > 1:
            self._writing[op.layer] = (DilatedWinogradConvolution(weight, bias, op.relu, dilation),)
        else:
            self._writing[op.layer] = (WinogradConvolution(weight, bias, op.relu),)

    def reads_images(self, graph: Graph) -> bool:
        """As ``fcnrt.engine.planned.Steps`` says: oneDNN wants the padding in memory."""
        return False

    def explain(self, op: Op, group: Group, values: Mapping[str, Value]) -> tuple[str, str]:
        """As ``fcnrt.engine.planned.Steps`` says."""
        if not isinstance(op, Convolution):
            return "torch", "strip by strip, behind its convolution" if op is not group[0] else "as it is"
        last = [member for member in group if isinstance(member, Convolution)][-1]
        if op is not last:
            return "direct", "strip by strip, before the convolution that alone reads it"
        area = values[op.name].computed
        choice = self.choose(op)
        kernel = self.chosen(op, area.height, area.width)
        if op.layer not in self._writing or kernel is self._writing[op.layer][0]:
            return choice.algorithm, choice.reason
        other = "direct" if isinstance(kernel, DirectConvolution) else "matrix"
        return other, f"{area.height}x{area.width} is too small for {choice.algorithm}"

    def chosen(self, op: Convolution, height: int, width: int) -> Writing | DirectConvolution:
        """The convolution for results of this size: the chosen one, or another if it cannot make them."""
        writing = (kernel for kernel in self._writing.get(op.layer, ()) if kernel.takes(height, width))
        return next(writing, None) or self.direct(op)

    def direct(self, op: Convolution) -> DirectConvolution:
        """The direct convolution for ``op``, packed when first asked for."""
        with self._lock:
            if op.layer not in self._direct:
                self._direct[op.layer] = DirectConvolution(op, *self._parameters(op))
            return self._direct[op.layer]

    def run_group(
        self, group: Group, values: Mapping[str, Value], buffers: Mapping[str, Tensor], x: Tensor, scratch: Scratch
    ) -> None:
        """As ``fcnrt.engine.planned.Steps`` says."""
        op, last = group[0], values[group[-1].name]
        out = view(buffers, last, last.computed)
        if isinstance(op, Convolution):
            convolutions = [member for member in group if isinstance(member, Convolution)]
            tail = group[-1] if len(group) > len(convolutions) else None
            other = None
            if isinstance(tail, Addition):
                name = tail.right if tail.left == convolutions[-1].name else tail.left
                other = view(buffers, values[name], last.computed)
            source = view(buffers, values[op.source], reading_area(op, values[op.name].computed))
            _Convolving(convolutions, tail, other, self, scratch).run(source, out, values)
        else:
            run_plain(op, values, buffers, x, out)

    def feature(self, name: str, x: Tensor) -> Tensor:
        """As it is."""
        return x

    def _parameters(self, op: Convolution) -> tuple[Tensor, Tensor]:
        layer = self._net.get_submodule(op.layer)
        weight, bias = layer.weight, layer.bias
        assert isinstance(weight, Tensor)
        weight = weight.detach().to(self._dtype)
        return weight, bias.detach().to(self._dtype) if isinstance(bias, Tensor) else weight.new_zeros(op.channels)


class _Convolving:
    """One or two convolutions, and the pool or addition behind them, strip by strip."""

    def __init__(
        self,
        convolutions: Sequence[Convolution],
        tail: Op | None,
        other: Tensor | None,
        steps: CPUSteps,
        scratch: Scratch,
    ) -> None:
        self.convolutions, self.tail, self.other = convolutions, tail, other
        self.steps, self.scratch = steps, scratch
        self.pool = (1, 1)
        """Rows and columns that the tail makes one of."""
        if isinstance(tail, MaxPool):
            self.pool = (tail.windows[0].kernel, tail.windows[1].kernel)

    def run(self, source: Tensor, out: Tensor, values: Mapping[str, Value]) -> None:
        """From ``source``, which is all that is read, into ``out``."""
        last = self.convolutions[-1]
        area = values[last.name].computed
        if len(self.convolutions) == 1 and self._writes_itself(last, area.height, area.width):
            self._strip(source, out, slice(None), slice(None))
            return
        per_row = self.pool[0] * max(op.channels * values[op.name].computed.width for op in self.convolutions)
        for images, rows in self._strips(out.shape[0], out.shape[1], per_row):
            begin, end = rows.start * self.pool[0], min(rows.stop * self.pool[0], area.height)
            for op in reversed(self.convolutions):
                window = op.windows[0]
                begin, end = begin * window.stride, (end - 1) * window.stride + window.reach + 1
            self._strip(source[images, begin:end], out[images, rows], images, rows)

    def _strips(self, images: int, rows: int, per_row: int) -> Iterator[tuple[slice, slice]]:
        """Images and rows of what is written; a strip is whole tiles high, and never lower than one."""
        single = len(self.convolutions) == 1 and not isinstance(self.tail, MaxPool)
        elements = SINGLE_ELEMENTS if single else CHAIN_ELEMENTS
        tiles = max(1, elements * self.pool[0] // (per_row * WINOGRAD_TILE))
        height = max(1, tiles * WINOGRAD_TILE // self.pool[0])
        together = max(1, elements // (per_row * rows))
        tops = list(range(0, rows, height))
        if len(tops) > 1 and (rows - tops[-1]) * self.pool[0] < WINOGRAD_TILE:
            tops.pop()
        for first in range(0, images, together):
            for top, end in zip(tops, [*tops[1:], rows], strict=True):
                yield slice(first, first + together), slice(top, end)

    def _strip(self, source: Tensor, out: Tensor, images: slice, rows: slice) -> None:
        for op in self.convolutions[:-1]:
            source = self.steps.direct(op)(source)
        op = self.convolutions[-1]
        height, width = (
            (size - window.reach - 1) // window.stride + 1
            for window, size in zip(op.windows, source.shape[1:3], strict=True)
        )
        kernel = self.steps.chosen(op, height, width)
        if isinstance(kernel, WinogradConvolution) and self._pools_evenly(height, width):
            kernel(source, out, self.scratch, pooled=True)
            return
        if isinstance(kernel, DirectConvolution):
            result = kernel(source)
        else:
            result = out if self.tail is None else source.new_empty(source.shape[0], height, width, op.channels)
            kernel(source, result, self.scratch)
        if isinstance(self.tail, MaxPool):
            out.copy_(pool(self.tail, result, ceil=True))
        elif isinstance(self.tail, Addition):
            assert self.other is not None
            add(self.tail, result, self.other[images, rows], out)
        elif result is not out:
            out.copy_(result)

    def _writes_itself(self, op: Convolution, height: int, width: int) -> bool:
        """Whether the kernel goes through the whole map by itself, from buffer to buffer."""
        kernel = self.steps.chosen(op, height, width)
        if isinstance(kernel, DirectConvolution):
            return False
        return self.tail is None or (isinstance(kernel, WinogradConvolution) and self._pools_evenly(height, width))

    def _pools_evenly(self, height: int, width: int) -> bool:
        return self.pool == (2, 2) and height % 2 == width % 2 == 0
