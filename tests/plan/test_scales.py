"""Scales: powers of two, shared where values are joined, absent where nothing needs them."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from fcnrt.errors import InputError
from fcnrt.models import create_model
from fcnrt.models.batchnorm import fold_batchnorm
from fcnrt.plan.graph import Addition, Concatenation, Convolution, Graph, Image, MaxPool, ResponseNorm
from fcnrt.plan.lowering import lower
from fcnrt.plan.scales import (
    FLOAT16_LARGEST,
    LEAST,
    MOST,
    SCALED_LEAST,
    SCALED_MOST,
    check_range,
    choose_scales,
    magnitudes,
    power_of_two,
)


def lowered(arch: str) -> Graph:
    net = create_model(arch, 3, width=1 / 32).eval()
    fold_batchnorm(net)
    return lower(net, 240, 250)


def scaled(graph: Graph, largest: dict[str, float], **options: Any) -> dict[str, float]:
    """With ``largest`` for the layers named, and 10 for all others."""
    ranges = {op.layer: (-5.0, largest.get(op.layer, 10.0)) for op in graph if isinstance(op, Convolution)}
    return choose_scales(graph, magnitudes(graph, ranges, 128.0), **options)


@given(st.floats(1e-30, 1e30))
def test_the_power_of_two_brings_it_into_bounds(magnitude: float) -> None:
    power = power_of_two(magnitude, LEAST, MOST)
    assert math.frexp(power)[0] == 0.5
    assert LEAST * (1 - 1e-9) <= magnitude * power <= MOST * (1 + 1e-9)
    if LEAST <= magnitude <= MOST:
        assert power == 1.0
    elif magnitude > MOST:
        assert magnitude * power > MOST / 2 * (1 - 1e-9), "nearest to 1"


@pytest.mark.parametrize("magnitude", [0.0, math.inf, math.nan])
def test_what_has_no_magnitude_has_no_scale(magnitude: float) -> None:
    assert power_of_two(magnitude, LEAST, MOST) == 1.0


def test_moderate_nets_have_no_scales() -> None:
    graph = lowered("fcn8s")
    assert set(scaled(graph, {"conv1_1": 0.3, "conv5_3": 4000.0}).values()) == {1.0}
    assert set(scaled(graph, {"conv1_1": 0.1}).values()) != {1.0}
    assert set(scaled(graph, {"conv5_3": 4097.0}).values()) != {1.0}


def test_every_value_of_a_scaled_net_is_in_bounds() -> None:
    graph = lowered("fcn8s")
    largest = {"conv2_1": 3e6, "conv3_2": 1e-3, "fc6": 70.0, "fc7": 0.0}
    scales = scaled(graph, largest)
    assert scales[graph.image.name] == 1.0
    assert scales["fc6"] == 1.0 and scales["fc7"] == 1.0, "in bounds; nothing to go by"
    assert scales["conv2_1"] == 2.0**-10 and scales["conv3_2"] == 2.0**12, "no larger, whatever 1e-3 would take"
    assert scales["conv4_1"] == 8.0 and SCALED_LEAST <= 80.0 <= SCALED_MOST
    pool = next(op for op in graph if isinstance(op, MaxPool) and op.source == "conv2_2")
    assert scales[pool.name] == scales["conv2_2"]


def test_what_is_joined_shares_a_scale() -> None:
    graph = lowered("fcn-resnet18")
    scales = scaled(graph, {"backbone.layer2.0.conv2": 1e5})
    sums = [op for op in graph if isinstance(op, Addition)]
    assert all(scales[op.name] == scales[op.left] == scales[op.right] for op in sums)
    assert any(scales[op.name] < 1.0 for op in sums)
    graph = lowered("fcn-googlenet")
    scales = scaled(graph, {"inception3a.branch2.1.conv": 1e5})
    for op in graph:
        if isinstance(op, Concatenation):
            assert len({scales[name] for name in (op.name, *op.parts)}) == 1
    assert scales["inception3a.branch2.1.conv"] == scales["inception3a.branch1.conv"] == 2.0**-5


def test_response_normalisation_is_not_homogeneous() -> None:
    graph = lowered("fcn-alexnet")
    scales = scaled(graph, {"conv1": 1e6, "conv3": 1e6})
    for op in graph:
        if isinstance(op, ResponseNorm):
            assert scales[op.name] == scales[op.source] == 1.0
    assert scales["conv1"] == 1.0 and scales["conv3"] == 2.0**-8


def test_values_that_a_reader_shares_have_one_scale() -> None:
    graph = lowered("fcn8s")
    scales = scaled(graph, {"conv3_3": 1e6, "fc7": 10.0}, together=[{"conv3_3", "fc7"}])
    assert scales["conv3_3"] == scales["fc7"] < 1.0


def test_a_sum_is_as_large_as_its_parts_allow() -> None:
    pair = lowered("fcn8s").ops[1]
    assert isinstance(pair, Convolution)
    left, right = (
        Convolution(name, "image", name, 3, 3, pair.windows, relu=relu) for name, relu in (("a", True), ("b", False))
    )
    graph = Graph((Image("image", 3), left, right, Addition("sum", "a", "b", 3)), {"sum": "sum"})
    found = magnitudes(graph, {"a": (-90.0, 7.0), "b": (-40.0, 2.0)}, 5.0)
    assert found == {"image": 5.0, "a": 7.0, "b": 40.0, "sum": 47.0}


def test_the_check_names_the_largest() -> None:
    check_range({"a": 1.0, "b": FLOAT16_LARGEST / 4, "c": math.inf}, "never said")
    check_range({}, "never said")
    expected = r"conv1 reaches 2e\+04 on the calibration images; float16 ends at 65504.*and why; use dtype='bfloat16'"
    with pytest.raises(InputError, match=expected):
        check_range({"conv2": 1.7e4, "conv1": 2e4}, "and why")
