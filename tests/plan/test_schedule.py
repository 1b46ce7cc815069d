"""Schedules: every reader finds what it reads, buffers that live together lie apart, templates are small."""

from __future__ import annotations

import itertools
import random

import pytest

from fcnrt.models import FCN, create_model
from fcnrt.models.batchnorm import fold_batchnorm
from fcnrt.plan.extents import COLUMNS, ROWS
from fcnrt.plan.graph import Addition, Convolution, Image, MaxPool, sources, windows
from fcnrt.plan.grouping import group_ops
from fcnrt.plan.halo import Interval
from fcnrt.plan.lowering import lower
from fcnrt.plan.memory import Lifetime, place
from fcnrt.plan.schedule import Schedule, make_schedule
from fcnrt.plan.template import stretch, template_size

ARCHS = ["fcn8s", "fcn-alexnet", "fcn-googlenet", "fcn-resnet18", "fcn8s-resnet18", "nyud-fcn32s-color-hha"]
SIZES = [(1, 1), (27, 70), (64, 33), (131, 257)]


def slim(arch: str) -> FCN:
    net = create_model(arch, 3, width=1 / 32).eval()
    fold_batchnorm(net)
    return net


def schedule(arch: str, height: int, width: int, *, halo: bool = True) -> Schedule:
    net = slim(arch)
    return make_schedule(lower(net, height, width), net.heads, height, width, halo=halo)


@pytest.mark.parametrize("arch", ARCHS)
def test_readers_find_what_they_read(arch: str) -> None:
    for (height, width), halo in itertools.product(SIZES, (True, False)):
        plan = schedule(arch, height, width, halo=halo)
        inner = {op.name for group in plan.groups for op in group[:-1]}
        for value in plan.values.values():
            for axis, area in ((ROWS, "rows"), (COLUMNS, "columns")):
                computed, stored = getattr(value.computed, area), getattr(value.stored, area)
                assert computed in getattr(value.whole, area)
                assert computed in stored
                reads = windows(value.op)[axis].reading(computed)
                for source in sources(value.op):
                    read = plan.values[source]
                    kept = getattr(read.computed if source in inner else read.stored, area)
                    # A pool inside a step leaves out what is beyond the map; its last window is smaller.
                    if source in inner and isinstance(value.op, MaxPool):
                        reads = reads.cut(getattr(read.whole, area))
                    assert reads in kept, (value.op.name, source)


@pytest.mark.parametrize("arch", ARCHS)
def test_buffers_that_live_together_lie_apart(arch: str) -> None:
    plan = schedule(arch, 97, 131)
    lives = {group[-1].name: step for step, group in enumerate(plan.groups)}
    last = dict(lives)
    for step, group in enumerate(plan.groups):
        for source in itertools.chain.from_iterable(sources(op) for op in group):
            if source in last:
                last[source] = step
    for value in plan.graph.outputs.values():
        last[value] = len(plan.groups)
    for one, other in itertools.combinations(lives, 2):
        if lives[one] <= last[other] and lives[other] <= last[one]:
            first, second = sorted((one, other), key=lambda name: plan.memory.offsets[name])
            assert plan.memory.offsets[first] + plan.elements[first] <= plan.memory.offsets[second]
        assert plan.memory.offsets[one] + plan.elements[one] <= plan.memory.elements
    assert plan.memory.elements < sum(plan.elements.values())


def test_pixels_that_no_window_reaches() -> None:
    """conv1 of AlexNet steps over the last rows of some images; the image is there all the same."""
    net = create_model("fcn-alexnet", 3, width=1 / 32, padding=0).eval()
    for size in (227, 228, 229, 230):
        plan = make_schedule(lower(net, size, size), net.heads, size, size)
        assert (plan.values["image"].computed.height, plan.values["image"].computed.width) == (size, size)


def test_memory_is_shared_where_nobody_meets() -> None:
    chain = {str(step): Lifetime(640, step, step + 1) for step in range(10)}
    assert place(chain).elements == 2 * 640
    assert place({}).elements == 0
    draw = random.Random(0)
    for _ in range(50):
        lives = {}
        for index in range(12):
            born = draw.randrange(20)
            lives[str(index)] = Lifetime(draw.randrange(1, 999), born, born + draw.randrange(6))
        memory = place(lives)
        for one, other in itertools.combinations(lives, 2):
            if lives[one].meets(lives[other]):
                a, b = memory.offsets[one], memory.offsets[other]
                assert a + lives[one].elements <= b or b + lives[other].elements <= a


def test_steps_of_fcn8s() -> None:
    plan = schedule("fcn8s", 97, 131)
    first = next(group for group in plan.groups if not isinstance(group[0], Image))
    assert [op.name for op in first] == ["conv1_1", "conv1_2", "conv1_2.pool"]
    # Nothing of conv1 is whole in memory, and what the decoders read outlives every step.
    assert not {"conv1_1", "conv1_2"} & set(plan.elements)
    assert plan.multiplications < 0.45 * plan.multiplications_without_halo


def test_the_first_two_convolutions_part_where_the_canvas_ends() -> None:
    """conv1_2 pads conv1_1 with zeros there, which computing conv1_1 further out would not give."""
    net = create_model("fcn8s", 3, width=1 / 32, padding=1).eval()
    plan = make_schedule(lower(net, 230, 240), net.heads, 230, 240)
    assert "conv1_1" in plan.elements


def test_an_addition_joins_the_convolution_that_runs_last() -> None:
    net = slim("fcn-resnet18")
    groups = group_ops(lower(net, 64, 64))
    joined = [group for group in groups if isinstance(group[-1], Addition)]
    assert len(joined) == 8 and all(isinstance(group[0], Convolution) and len(group) == 2 for group in joined)
    position = {op.name: index for index, group in enumerate(groups) for op in group}
    for index, group in enumerate(groups):
        for source in itertools.chain.from_iterable(sources(op) for op in group):
            assert position[source] <= index


@pytest.mark.parametrize("arch", ["fcn8s", "fcn-alexnet", "fcn-googlenet"])
def test_templates_are_small_and_line_up(arch: str) -> None:
    net = slim(arch)
    for size in (1, 31, 224, 375, 500, 1024):
        graph = lower(net, size, size)
        plan = make_schedule(graph, net.heads, size, size)
        names = {group[-1].name for group in plan.groups if plan.values[group[-1].name].has_constants} - {"image"}
        template = template_size(graph, net.heads, plan.groups, ROWS, size, names)
        assert template <= min(size, 96) and (size - template) % 16 == 0
        small = make_schedule(graph, net.heads, template, template)
        for name in names:
            large, less = plan.values[name], small.values[name]
            assert large.stored.rows.begin == less.stored.rows.begin
            assert large.whole.rows.end - large.stored.rows.end == less.whole.rows.end - less.stored.rows.end


def test_a_stretched_map() -> None:
    from fcnrt.plan.extents import Extent

    whole = Interval(0, 9)
    small = Extent(9, whole, whole, Interval(3, 6))
    large = Extent(14, Interval(0, 14), Interval(0, 14), Interval(3, 11))
    found = [stretch(large, small).source(entry) for entry in range(-1, 15)]
    assert found == [-1, 0, 1, 2, 3, 4, 4, 4, 4, 4, 4, 5, 6, 7, 8, 9]
    same = stretch(small, small)
    assert [same.source(entry) for entry in range(-1, 10)] == list(range(-1, 10))
