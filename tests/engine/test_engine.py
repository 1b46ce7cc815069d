"""Which calls go through recorded graphs, and under which name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fcnrt.engine import Engine, Placement

CPU = Placement(torch.device("cpu"), torch.float32, "a test")


class Recordings:
    """In place of a ``GraphCache``: runs what it is given, and keeps the names."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str, run: Callable[[Tensor], Any], x: Tensor) -> Any:
        self.names.append(name)
        return run(x)


@pytest.fixture
def recorded(make_net: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Engine, Recordings]:
    """An engine on the CPU that believes it has graphs."""
    engine, recordings = Engine(make_net("fcn32s", width=1 / 64), CPU, "fused"), Recordings()
    assert engine._recordings is None
    monkeypatch.setattr(engine, "_recordings", recordings)
    return engine, recordings


def test_each_function_has_its_own_name(recorded: tuple[Engine, Recordings]) -> None:
    """Labels, labels with confidence and logits of one shape must never share a recording."""
    engine, recordings = recorded
    x = torch.randn(1, 3, 3, 4)
    logits, labels, (again, confidence) = engine(x), engine.predict_labels(x), engine.predict_labels(x, confidence=True)
    assert recordings.names == ["logits", "labels", "confidence"]
    assert (logits.shape, labels.shape, confidence.shape) == ((1, 5, 3, 4), (1, 3, 4), (1, 3, 4))
    assert torch.equal(labels, again)


def test_what_cannot_be_recorded_is_run(recorded: tuple[Engine, Recordings], monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty batch has nothing to record, and a tracer wants the modules."""
    engine, recordings = recorded
    assert engine.predict_labels(torch.randn(0, 3, 3, 4)).shape == (0, 3, 4)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert engine(torch.randn(1, 3, 3, 4)).shape == (1, 5, 3, 4)
    assert recordings.names == []


@pytest.mark.parametrize("engine", ["fused", "eager"])
def test_an_engine_is_for_inference(engine: str, make_net: Any) -> None:
    """Its net was in training mode and trainable: dropout is off, and nothing asks for gradients."""
    net = make_net("fcn32s", width=1 / 64).train().requires_grad_(True)
    built = Engine(net, CPU, engine)
    x = torch.randn(1, 3, 3, 4)
    assert torch.equal(built(x), built(x))
    assert not built(x).requires_grad
