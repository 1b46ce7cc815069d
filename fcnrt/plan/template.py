"""The constants of a size, from a smaller zero image: which one, and how its maps are stretched.

The constants near the canvas's ends depend on how far they are from the end, and pools align with the size modulo the
net's stride; the middle of a zero image is uniform. So a small zero image, of a size that is the same modulo the
stride and just large enough that its middle is uniform in every map that has constants, holds every distinct value.
Any larger one is that one with an entry of its middle repeated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fcnrt.models.decoder import Decoder
from fcnrt.plan.extents import Extent
from fcnrt.plan.graph import Graph, sources, windows
from fcnrt.plan.grouping import Group
from fcnrt.plan.halo import Extension
from fcnrt.plan.schedule import plan_axis


@dataclass(frozen=True)
class Stretch:
    """How one axis of a template's map becomes that of a larger image."""

    template: int
    """entries of the template's map"""
    length: int
    """entries of the larger map"""
    middle: int
    """the template's entry that is repeated"""

    def source(self, entry: int) -> int:
        """The template's entry that has the value of ``entry``; beyond the map's ends, that beyond the template's."""
        if entry <= self.middle:
            return entry
        return max(self.middle, entry - (self.length - self.template))


def period(graph: Graph, axis: int, names: set[str]) -> int:
    """The image sizes that the maps ``names`` line up alike for differ by multiples of this."""
    strides: dict[str, int] = {}
    for op in graph:
        before = [strides[source] for source in sources(op)]
        window = windows(op)[axis]
        stride = 1 if isinstance(window, Extension) else window.stride
        strides[op.name] = math.lcm(1, *before) * stride
    return math.lcm(1, *(strides[name] for name in names))


def template_size(
    graph: Graph, heads: Mapping[str, Decoder], groups: Sequence[Group], axis: int, size: int, names: set[str]
) -> int:
    """Pixels on ``axis`` of the smallest zero image that has all constants of ``names`` for an image of ``size``."""
    _, wanted = plan_axis(graph, heads, groups, axis, size)
    step = period(graph, axis, names)
    for smaller in range(size % step or step, size, step):
        try:
            _, found = plan_axis(graph, heads, groups, axis, smaller)
        except ValueError:  # too small for the decoder
            continue
        if all(_has_constants(wanted[name], found[name]) for name in names):
            return smaller
    return size


def stretch(size: Extent, template: Extent) -> Stretch:
    """How the map of a template becomes that of a larger size."""
    if size.length == template.length:
        return Stretch(size.length, size.length, size.length)
    return Stretch(template.length, size.length, (template.uniform.begin + template.uniform.end) // 2)


def _has_constants(size: Extent, smaller: Extent) -> bool:
    """Whether a map of a smaller zero image has the constants for a larger one: ends alike, the middle uniform."""
    return bool(smaller.uniform) and all(
        large.begin == small.begin and size.length - large.end == smaller.length - small.end
        for large, small in ((size.stored, smaller.stored), (size.computed, smaller.computed))
    )
