"""Graphs of the reference nets: what the trunk does, in ops; and what cannot be said in ops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fcnrt.errors import InputError
from fcnrt.models import ARCHITECTURES, create_model
from fcnrt.models.batchnorm import fold_batchnorm
from fcnrt.plan.graph import Addition, Concatenation, Convolution, MaxPool, sources
from fcnrt.plan.lowering import NotLowerableError, lower


def slim(arch: str) -> Any:
    net = create_model(arch, 3, width=1 / 32).eval()
    fold_batchnorm(net)
    return net


@pytest.mark.parametrize("arch", [arch for arch in ARCHITECTURES if not arch.startswith("pochih")])
def test_every_net(arch: str) -> None:
    """Shapes are those of the net; all convolutions of the trunk are there; ops come after what they read."""
    net = slim(arch)
    graph = lower(net, 229, 257)
    with torch.no_grad():
        features = net.features(torch.zeros(1, net.in_channels, 229, 257))
    assert set(graph.outputs) == set(features)
    from fcnrt.plan.extents import lengths

    rows, columns = lengths(graph, 0, 229), lengths(graph, 1, 257)
    channels = {op.name: op.channels for op in graph}
    for feature, value in graph.outputs.items():
        assert features[feature].shape[1:] == (channels[value], rows[value], columns[value])
    seen: set[str] = set()
    for op in graph:
        assert seen.issuperset(sources(op))
        assert op.name not in seen
        seen.add(op.name)


def test_fcn8s() -> None:
    graph = lower(slim("fcn8s"), 40, 50)
    assert graph.image.padding == (100, 100)
    convolutions = [op for op in graph if isinstance(op, Convolution)]
    assert [op.layer for op in convolutions][:3] == ["conv1_1", "conv1_2", "conv2_1"]
    assert all(op.relu for op in convolutions)
    assert [op.windows[0].padding for op in convolutions[:2]] == [0, 1]  # conv1_1's is the image's
    pools = [op for op in graph if isinstance(op, MaxPool)]
    assert len(pools) == 5 and all(op.windows[0].ceil for op in pools)


def test_branches() -> None:
    resnet = lower(slim("fcn-resnet18"), 64, 64)
    assert sum(isinstance(op, Addition) and op.relu for op in resnet) == 8
    googlenet = lower(slim("fcn-googlenet"), 64, 64)
    assert sum(isinstance(op, Concatenation) for op in googlenet) == 9
    fusion = lower(slim("nyud-fcn32s-color-hha"), 64, 64)
    assert set(fusion.outputs) == {"fc7color", "fc7hha"}
    assert [op.in_channels for op in fusion if isinstance(op, Convolution) and "conv1_1" in op.layer] == [3, 3]


def test_a_size_that_the_net_refuses() -> None:
    net = create_model("fcn8s", 3, width=1 / 32, padding=1).eval()
    with pytest.raises(InputError, match="is too small"):
        lower(net, 20, 300)


@pytest.mark.parametrize(
    ("trunk", "reason"),
    [
        (lambda net, x: torch.sigmoid(net.conv1_1(x)), "the trunk calls sigmoid"),
        (lambda net, x: F.max_pool2d(net.conv1_1(x), 2), "a pool reads conv1_1, which may be negative"),
        (lambda net, x: F.relu(F.max_pool2d(net.conv1_1(x).relu(), 2)), "the trunk calls relu"),
        (lambda net, x: F.pad(x, (1, 1, 1, 1)), "the trunk pads by constant"),
        (lambda net, x: x + net.conv1_1(x)[:, :3], "the trunk calls __getitem__"),
        (lambda net, x: F.dropout(x, training=True), "the net is in training mode"),
    ],
)
def test_what_no_op_stands_for(trunk: Any, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = slim("fcn8s")

    def features(x: Tensor) -> dict[str, Tensor]:
        return {"fc7": trunk(net, x)}

    monkeypatch.setattr(net, "features", features)
    with pytest.raises(NotLowerableError, match=reason):
        lower(net, 40, 40)


def test_batch_norm_is_folded_first() -> None:
    with pytest.raises(NotLowerableError, match="batch_norm"):
        lower(create_model("fcn-resnet18", 3, width=1 / 32).eval(), 64, 64)
