"""Runs a net's trunk by its schedule: every value in its halo buffer, every step written where the next reads it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from fcnrt.engine.features import FeatureMap, Features
from fcnrt.engine.keeping import keep, once
from fcnrt.engine.planned.arena import Arena, ArenaPool, Scratch, may_own, normal_tensors
from fcnrt.engine.planned.constants import Constants
from fcnrt.engine.planned.rings import FlatRing, Ring, flatten_ring, write_ring
from fcnrt.models import FCN
from fcnrt.plan.graph import Graph, Image, Op
from fcnrt.plan.grouping import Group
from fcnrt.plan.lowering import lower
from fcnrt.plan.schedule import Schedule, Value, make_schedule

NOMINAL_SIZE = (384, 512)
"""Rows and columns of the image that a net is lowered for when its weights are packed; no net refuses it."""

KEPT_SIZES = 8
"""Schedules kept, each with the constants of its size; the least recently used goes first."""


@dataclass(frozen=True)
class Prepared:
    """A schedule, and the constants of its buffers' rings; buffers without any have zeros."""

    schedule: Schedule
    rings: Mapping[str, Ring]
    flat_rings: Mapping[str, FlatRing] = field(default_factory=dict)
    """all rings, those of zeros included, in place of ``rings`` where each launch counts"""


class Steps(Protocol):
    """Who computes the steps: packed weights, and a function for each kind of step."""

    def pack(self, op: Op) -> None:
        """Make the weights of ``op`` ready, if it has any."""

    def reads_images(self, graph: Graph) -> bool:
        """Whether the first ops read the images as they are, so that nobody need copy them into a buffer."""

    def explain(self, op: Op, group: Group, values: Mapping[str, Value]) -> tuple[str, str]:
        """What computes ``op`` as part of the step ``group``, in a word or two, and why."""

    def run_group(
        self, group: Group, values: Mapping[str, Value], buffers: Mapping[str, Tensor], x: Tensor, scratch: Scratch
    ) -> None:
        """Run the ops of ``group`` and write what the last gives into its buffer, all but the ring.

        Args:
            group: the ops.
            values: of the schedule.
            buffers: ``[N,h,w,C]``, those that the group reads and the one that it writes.
            x: the normalised images, ``[N,C,H,W]``.
            scratch: memory for within the step.
        """

    def feature(self, name: str, x: Tensor) -> Tensor:
        """What the decoders read of value ``name``, ``[N,C,h,w]``, in a floating type."""


class PlannedTrunk:
    """The trunk of ``net``, packed.

    Many threads may call it: each call has buffers of its own.

    Args:
        net: a reference net in evaluation mode, batch norm folded, on the device to run on.
        dtype: of weights and activations.
        steps: computes.
        halo: compute only what depends on the image.
        chain: let the first two convolutions run as one step.
        recordable: take the memory of each call from torch's allocator, and write each ring in one launch: what a CUDA
            graph wants.

    Raises:
        NotLowerableError: the trunk does something that no op of a graph stands for.
    """

    def __init__(
        self,
        net: FCN,
        dtype: torch.dtype,
        steps: Steps,
        *,
        halo: bool = True,
        chain: bool = True,
        recordable: bool = False,
    ) -> None:
        self.dtype = dtype
        self.steps = steps
        self._device = next(net.parameters()).device
        self._net = net
        self._halo, self._chain, self._recordable = halo, chain, recordable
        with normal_tensors():
            for op in lower(net, *NOMINAL_SIZE):
                steps.pack(op)
        self._arenas = ArenaPool(dtype, self._device, reuse=not recordable)
        self._constants = Constants(net.heads, self._run_zero_image)
        self._prepared: OrderedDict[tuple[int, int], Prepared] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def run(self, x: Tensor) -> Iterator[Features]:
        """The feature maps of normalised images ``[N,C,H,W]``; they are gone when the block ends."""
        prepared = self.prepare(x.shape[2], x.shape[3])
        keep(prepared)  # a recording reads its rings long after the size has left the schedules kept here
        schedule, images = prepared.schedule, x.shape[0]
        owned = None
        if self._recordable and may_own(sum(schedule.elements.values()) * images, self.dtype.itemsize, self._device):
            owned = once((id(prepared), images), lambda: self._own_buffers(prepared, images))
        with self._arenas.borrow() as arena, torch.no_grad():
            buffers = self._run(prepared, x, arena, owned=owned)
            maps = {}
            for feature, value in schedule.graph.outputs.items():
                stored = schedule.values[value].stored
                tensor = self.steps.feature(value, buffers[value].permute(0, 3, 1, 2))
                maps[feature] = FeatureMap(tensor, stored.rows.begin, stored.columns.begin)
            yield Features(maps, schedule.windows)

    def explain(self, op: Op, group: Group, values: Mapping[str, Value]) -> tuple[str, str]:
        """What computes ``op`` as part of the step ``group`` of a schedule, in a word or two, and why."""
        return self.steps.explain(op, group, values)

    def prepare(self, height: int, width: int) -> Prepared:
        """The schedule for images of this size, and its constants.

        Raises:
            InputError: the net refuses images of this size.
        """
        with self._lock, normal_tensors():
            key = (height, width)
            if key in self._prepared:
                self._prepared.move_to_end(key)
                return self._prepared[key]
            schedule = self._schedule(height, width, self._halo)
            rings = self._constants.rings(schedule)
            prepared = Prepared(schedule, rings, self._flatten(schedule, rings) if self._recordable else {})
            if self._device.type == "cuda":
                torch.cuda.current_stream(self._device).synchronize()  # others will read it on streams of their own
            while len(self._prepared) >= KEPT_SIZES:
                self._prepared.popitem(last=False)
            self._prepared[key] = prepared
            return prepared

    def _run(
        self,
        prepared: Prepared,
        x: Tensor,
        arena: Arena,
        visit: Callable[[str, Tensor], None] = lambda name, buffer: None,
        *,
        owned: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Fill all buffers, ``[N,h,w,C]``; ``visit`` sees each as soon as it is filled. The outputs are left.

        Without ``owned`` ones, which have their rings, buffers share memory, and each ring is written anew.
        """
        schedule, images = prepared.schedule, x.shape[0]
        memory = None if owned is not None else arena.buffers.take(schedule.memory.elements * images)
        buffers: dict[str, Tensor] = {}
        for group in self._filled(schedule):
            name = group[-1].name
            if owned is not None:
                buffers[name] = owned[name]
            else:
                assert memory is not None
                first = schedule.memory.offsets[name] * images
                buffers[name] = _shaped(memory[first:], schedule, name, images)
                _write_ring(prepared, name, buffers[name])
            self.steps.run_group(group, schedule.values, buffers, x, arena.scratch)
            visit(name, buffers[name])
        return buffers

    def _filled(self, schedule: Schedule) -> Iterator[Group]:
        """The groups whose buffers a run fills."""
        reads_images = self.steps.reads_images(schedule.graph)
        return (group for group in schedule.groups if not (reads_images and isinstance(group[-1], Image)))

    def _own_buffers(self, prepared: Prepared, images: int) -> dict[str, Tensor]:
        """Buffers that share no memory, with their rings: those need not be written again."""
        schedule = prepared.schedule
        buffers: dict[str, Tensor] = {}
        for group in self._filled(schedule):
            name = group[-1].name
            memory = torch.empty(schedule.elements[name] * images, dtype=self.dtype, device=self._device)
            buffers[name] = _shaped(memory, schedule, name, images)
            _write_ring(prepared, name, buffers[name])
        return buffers

    def _run_zero_image(self, height: int, width: int, visit: Callable[[str, Tensor], None]) -> Schedule:
        """Every buffer of a zero image, all of it computed; ``visit`` sees each. Gives its schedule."""
        schedule = self._schedule(height, width, halo=False)
        x = torch.zeros(1, schedule.graph.image.channels, height, width, dtype=self.dtype, device=self._device)
        self._run(Prepared(schedule, {}), x, Arena(self.dtype, self._device), visit)
        return schedule

    def _schedule(self, height: int, width: int, halo: bool) -> Schedule:
        graph = lower(self._net, height, width)
        return make_schedule(graph, self._net.heads, height, width, halo=halo, chain=self._chain)

    def _flatten(self, schedule: Schedule, rings: Mapping[str, Ring]) -> dict[str, FlatRing]:
        values = [schedule.values[group[-1].name] for group in schedule.groups]
        return {
            value.op.name: flatten_ring(value, rings.get(value.op.name), self.dtype, self._device)
            for value in values
            if value.has_ring
        }


def _shaped(memory: Tensor, schedule: Schedule, name: str, images: int) -> Tensor:
    """The beginning of ``memory`` as a buffer ``[N,h,w,C]``."""
    value = schedule.values[name]
    shape = (images, value.stored.height, value.stored.width, value.op.channels)
    return memory[: schedule.elements[name] * images].view(shape)


def _write_ring(prepared: Prepared, name: str, buffer: Tensor) -> None:
    value = prepared.schedule.values[name]
    if not value.has_ring:
        return
    if name in prepared.flat_rings:
        prepared.flat_rings[name].write(buffer)
    else:
        write_ring(buffer, value, prepared.rings.get(name))
