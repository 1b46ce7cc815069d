"""The plan of one net at one image size: steps over halo buffers, as data that can be printed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fcnrt.models.decoder import Decoder
from fcnrt.plan.extents import COLUMNS, ROWS, Extent, extents, lengths
from fcnrt.plan.graph import Convolution, Graph, Op, sources
from fcnrt.plan.grouping import Group, group_ops
from fcnrt.plan.halo import EMPTY, Interval
from fcnrt.plan.memory import Lifetime, MemoryMap, place
from fcnrt.plan.windows import DecoderWindows, decoder_windows


@dataclass(frozen=True)
class Area:
    """A rectangle of a map."""

    rows: Interval
    columns: Interval

    @property
    def height(self) -> int:
        return len(self.rows)

    @property
    def width(self) -> int:
        return len(self.columns)

    @property
    def entries(self) -> int:
        return self.height * self.width

    def within(self, outer: Area) -> tuple[slice, slice]:
        """Where it lies in a tensor that holds ``outer``."""
        return (
            slice(self.rows.begin - outer.rows.begin, self.rows.end - outer.rows.begin),
            slice(self.columns.begin - outer.columns.begin, self.columns.end - outer.columns.begin),
        )

    def index_in(self, outer: Area) -> tuple[slice, slice, slice]:
        """Its index in a batch ``[N,h,w,C]`` that holds ``outer``."""
        return (slice(None), *self.within(outer))


@dataclass(frozen=True)
class Value:
    """One feature map: how large it is, what of it is computed for each image, what is kept."""

    op: Op
    whole: Area
    computed: Area
    stored: Area
    has_constants: bool
    """some of its ring is neither computed nor a zero beyond the map's end"""

    @property
    def has_ring(self) -> bool:
        """Something is kept that is not computed."""
        return self.stored != self.computed


@dataclass(frozen=True)
class Schedule:
    """What to do for an image of one size.

    Args:
        graph: the ops.
        height: of the image.
        width: of the image.
        groups: the ops that run as one step each, in order.
        values: by name, those that are never whole in memory included.
        windows: of each head's decoder, in rows and in columns.
        elements: per image of a batch, of each value that is kept.
        memory: where they lie, per image of a batch.
    """

    graph: Graph
    height: int
    width: int
    groups: tuple[Group, ...]
    values: Mapping[str, Value]
    windows: Mapping[str, tuple[DecoderWindows, DecoderWindows]]
    elements: Mapping[str, int]
    memory: MemoryMap

    @property
    def multiplications(self) -> int:
        """Of all convolutions, for one image."""
        return sum(multiplications(value.op, value.computed) for value in self.values.values())

    @property
    def multiplications_without_halo(self) -> int:
        """The same for whole maps."""
        return sum(multiplications(value.op, value.whole) for value in self.values.values())


def make_schedule(
    graph: Graph, heads: Mapping[str, Decoder], height: int, width: int, *, halo: bool = True, chain: bool = True
) -> Schedule:
    """Plan ``graph`` and its decoders for an image of ``height`` x ``width``.

    Args:
        graph: the trunk.
        heads: the decoders that read its outputs.
        height: of the image.
        width: of the image.
        halo: compute only what depends on the image; otherwise all that is read.
        chain: let the first two convolutions run as one step.

    Raises:
        ValueError: a map is too small to crop from.
    """
    groups = group_ops(graph, chain=chain)
    row_windows, rows = plan_axis(graph, heads, groups, ROWS, height, halo=halo)
    column_windows, columns = plan_axis(graph, heads, groups, COLUMNS, width, halo=halo)
    if chain and not _chains_hold(graph, groups, rows, columns):
        return make_schedule(graph, heads, height, width, halo=halo, chain=False)
    values = {op.name: _value(op, rows[op.name], columns[op.name]) for op in graph}
    kept = [group[-1].name for group in groups]
    elements = {name: values[name].op.channels * values[name].stored.entries for name in kept}
    memory = place(_lifetimes(graph, groups, elements))
    windows = {name: (row_windows[name], column_windows[name]) for name in heads}
    return Schedule(graph, height, width, groups, values, windows, elements, memory)


def plan_axis(
    graph: Graph, heads: Mapping[str, Decoder], groups: Sequence[Group], axis: int, size: int, *, halo: bool = True
) -> tuple[dict[str, DecoderWindows], dict[str, Extent]]:
    """The decoders' windows and the values' extents on one axis, for an image of ``size`` pixels.

    Raises:
        ValueError: a map is too small to crop from.
    """
    whole = lengths(graph, axis, size)
    by_feature = {feature: whole[value] for feature, value in graph.outputs.items()}
    windows = {name: decoder_windows(decoder, by_feature, size) for name, decoder in heads.items()}
    return windows, extents(graph, groups, axis, size, _demands(graph, heads, windows), halo=halo)


def multiplications(op: Op, area: Area) -> int:
    """Of a convolution on ``area`` of its result; others have none."""
    if not isinstance(op, Convolution):
        return 0
    taps = op.windows[ROWS].kernel * op.windows[COLUMNS].kernel
    return op.channels * op.in_channels // op.groups * taps * area.entries


def _demands(graph: Graph, heads: Mapping[str, Decoder], windows: Mapping[str, DecoderWindows]) -> dict[str, Interval]:
    """What the decoders read, by value, on one axis."""
    demands: dict[str, Interval] = {}

    def read(feature: str, first: int, size: int) -> None:
        value = graph.outputs[feature]
        demands[value] = demands.get(value, EMPTY).hull(Interval(first, first + size))

    for name, decoder in heads.items():
        for score in decoder.scores:
            read(score.feature, windows[name].score.first, windows[name].score.size)
        for stage, window in zip(decoder.stages, windows[name].stages, strict=True):
            read(stage.skip.feature, window.skip_offset, window.size)
    return demands


def _chains_hold(
    graph: Graph, groups: Sequence[Group], rows: Mapping[str, Extent], columns: Mapping[str, Extent]
) -> bool:
    """Whether no convolution in the middle of a step is read beyond its map's end, where it would have to be zero."""
    for group in groups:
        for op, follower in itertools.pairwise(group):
            if isinstance(follower, Convolution):
                for extent in (rows[op.name], columns[op.name]):
                    if extent.stored != extent.computed:
                        return False
    return True


def _value(op: Op, rows: Extent, columns: Extent) -> Value:
    return Value(
        op,
        Area(Interval(0, rows.length), Interval(0, columns.length)),
        Area(rows.computed, columns.computed),
        Area(rows.stored, columns.stored),
        rows.has_constants or columns.has_constants,
    )


def _lifetimes(graph: Graph, groups: Sequence[Group], elements: Mapping[str, int]) -> dict[str, Lifetime]:
    """From the step that writes a buffer to the last that reads it; what the decoders read lives on."""
    born = {group[-1].name: step for step, group in enumerate(groups)}
    dies = dict(born)
    for step, group in enumerate(groups):
        for op in group:
            for source in sources(op):
                if source in dies:
                    dies[source] = max(dies[source], step)
    dies.update(dict.fromkeys(graph.outputs.values(), len(groups)))
    return {name: Lifetime(size, born[name], dies[name]) for name, size in elements.items()}
