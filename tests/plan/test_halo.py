"""Interval arithmetic against counting, torch, nets that are run, and the table of the paper's canvas."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
import torch.nn.functional as F

from fcnrt.models import create_model
from fcnrt.plan.extents import COLUMNS, ROWS
from fcnrt.plan.graph import Convolution
from fcnrt.plan.halo import EMPTY, Extension, Interval, Sliding
from fcnrt.plan.lowering import lower
from fcnrt.plan.schedule import Area, multiplications, plan_axis

WINDOWS = [
    Sliding(*rest, ceil=ceil)
    for rest in itertools.product((1, 2, 3, 4, 7), (1, 2, 3, 4), (0, 1, 3), (1, 2))
    for ceil in (False, True)
]


def taps(window: Sliding, entry: int) -> list[int]:
    return [entry * window.stride - window.padding + window.dilation * tap for tap in range(window.kernel)]


@pytest.mark.parametrize("source", [1, 2, 5, 6, 17])
def test_lengths_are_torch_s(source: int) -> None:
    for window in WINDOWS:
        if window.padding > window.kernel // 2:
            continue
        how = (window.stride, window.padding, window.dilation)
        x = torch.empty(1, 1, source)
        try:
            if window.ceil:
                expected = F.max_pool1d(x, window.kernel, *how, ceil_mode=True).shape[2]
            else:
                expected = F.conv1d(x, torch.empty(1, 1, window.kernel), None, *how).shape[2]
        except RuntimeError:
            expected = 0
        assert max(0, window.length(source)) == expected, window


def test_intervals_are_what_counting_finds() -> None:
    draw = random.Random(0)
    for window in WINDOWS:
        source = draw.randrange(1, 24)
        length = max(0, window.length(source))
        begin = draw.randrange(source)
        interval = Interval(begin, draw.randrange(begin, source) + 1)
        inside = set(range(interval.begin, interval.end))
        span = [set(range(min(taps(window, o)), max(taps(window, o)) + 1)) for o in range(length)]
        # A dilated window steps over entries; the interval may count some that only straddle it.
        depending = [o for o in range(length) if span[o] & inside]
        found = window.depending(interval, length)
        assert list(range(found.begin, found.end)) == depending, (window, interval)
        made = window.made_of(interval, length)
        assert list(range(made.begin, made.end)) == [o for o in range(length) if span[o] <= inside], (window, interval)
        if found:
            reading = window.reading(found)
            reads = {tap for o in range(found.begin, found.end) for tap in taps(window, o)}
            assert (reading.begin, reading.end) == (min(reads), max(reads) + 1)


def test_repeated_edges() -> None:
    window = Extension(2, 3)
    assert window.length(5) == 10
    whole = Interval(0, 10)
    assert window.depending(Interval(0, 5), 10) == whole
    assert window.depending(Interval(1, 3), 10) == Interval(3, 5)
    assert Interval(0, 5) in window.reading(whole)
    for entries in (Interval(0, 1), Interval(9, 10), Interval(3, 5)):
        sources = {min(4, max(0, entry - 2)) for entry in range(entries.begin, entries.end)}
        assert Interval(min(sources), max(sources) + 1) in window.reading(entries)


def test_empty_intervals() -> None:
    window = Sliding(3, 2, 1)
    assert not window.depending(EMPTY, 9) and not window.reading(EMPTY)
    assert EMPTY.hull(Interval(2, 4)) == Interval(2, 4) == Interval(2, 4).hull(EMPTY)
    assert not Interval(3, 9).cut(Interval(9, 12)) and EMPTY in Interval(5, 6)


VGG_AT_500 = {
    "conv1_1": (98, 600, 698),
    "conv1_2": (97, 601, 698),
    "conv2_1": (47, 302, 349),
    "conv2_2": (46, 303, 349),
    "conv3_1": (22, 153, 175),
    "conv3_2": (21, 154, 175),
    "conv3_3": (20, 155, 175),
    "conv4_1": (9, 79, 88),
    "conv4_2": (8, 80, 88),
    "conv4_3": (7, 81, 88),
    "conv5_1": (2, 42, 44),
    "conv5_2": (1, 43, 44),
    "conv5_3": (0, 44, 44),
    "fc6": (0, 16, 16),
}
ALEXNET_AT_500 = {
    # Counted by hand: conv1 reads 11 pixels in steps of 4 from 100 before the image on.
    "conv1": (23, 150, 173),
    "conv2": (9, 77, 86),
    "conv3": (3, 40, 43),
    "conv4": (2, 41, 43),
    "conv5": (1, 42, 43),
    "fc6": (0, 16, 16),
}


@pytest.mark.parametrize(("arch", "table"), [("fcn8s", VGG_AT_500), ("fcn-alexnet", ALEXNET_AT_500)])
def test_the_rows_that_depend_on_the_image(arch: str, table: dict[str, tuple[int, int, int]]) -> None:
    net = create_model(arch, 2, width=1 / 64).eval()
    graph = lower(net, 500, 500)
    for axis in (ROWS, COLUMNS):
        _, extents = plan_axis(graph, net.heads, [(op,) for op in graph], axis, 500)
        found = {name: extents[name] for name in table}
        rows = {name: (e.computed.begin, e.computed.end, e.length) for name, e in found.items()}
        assert rows == table


@pytest.mark.parametrize(
    ("size", "share"), [((224, 224), 0.498), ((375, 500), 0.653), ((500, 500), 0.689), ((1024, 2048), 0.862)], ids=str
)
def test_the_share_of_the_work(size: tuple[int, int], share: float) -> None:
    with torch.device("meta"):
        net = create_model("fcn8s").eval()
    graph = lower(net, *size)
    rows, columns = (
        plan_axis(graph, net.heads, [(op,) for op in graph], axis, size[axis])[1] for axis in (ROWS, COLUMNS)
    )
    done = whole = 0
    for op in graph:
        if isinstance(op, Convolution):
            done += multiplications(op, Area(rows[op.name].computed, columns[op.name].computed))
            everything = (Interval(0, extents[op.name].length) for extents in (rows, columns))
            whole += multiplications(op, Area(*everything))
    assert round(done / whole, 3) == pytest.approx(share, abs=2e-3)


@pytest.mark.parametrize("arch", ["fcn8s", "fcn-alexnet", "fcn-alexnet-torchvision"])
def test_nothing_outside_depends_on_the_image(arch: str) -> None:
    """Two images, one net: the entries that differ lie in the intervals, and reach their ends or miss by one."""
    net = create_model(arch, 2, width=1 / 32).eval().double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0.02, 0.2)
    seen: list[dict[str, torch.Tensor]] = [{}, {}]
    size = 37
    for found, image in zip(seen, torch.randn(2, 1, 3, size, size).double() * 50, strict=True):
        hooks = [
            module.register_forward_hook(lambda m, _, y, n=name, f=found: f.__setitem__(n, y.clone()))
            for name, module in net.named_modules()
            if isinstance(module, torch.nn.Conv2d)
        ]
        with torch.no_grad():
            net.features(image)
        for hook in hooks:
            hook.remove()
    graph = lower(net, size, size)
    _, extents = plan_axis(graph, net.heads, [(op,) for op in graph], ROWS, size)
    for name, first in seen[0].items():
        differing = (first != seen[1][name]).any(dim=1)[0].any(dim=1).nonzero().flatten().tolist()
        interval = extents[name].computed
        assert interval.begin <= differing[0] <= interval.begin + 1, name
        assert interval.end - 2 <= differing[-1] < interval.end, name
