"""Which calls go through recorded graphs, and under which name."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fcnrt.engine import Engine, Placement
from fcnrt.engine.fused import FusedFCN
from fcnrt.engine.gpu import plan_on_gpu
from fcnrt.errors import ImageError, InputError
from fcnrt.preprocessing import PRESETS, normalize

CPU = Placement(torch.device("cpu"), torch.float32, "a test")


class Recordings:
    """In place of a ``GraphCache``: runs what it is given, and keeps the names."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.room = 1 << 20
        """Images that memory suffices for."""
        self.graphs = True
        """Whether there is memory for graphs too."""
        self.forgotten = 0

    def __call__(self, name: str, run: Callable[[Tensor], Any], x: Tensor, *, record: bool = True) -> Any:
        self.names.append(name)
        if x.shape[0] > self.room or (record and not self.graphs):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(x)

    def forget(self) -> None:
        self.forgotten += 1


@pytest.fixture
def recorded(make_net: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Engine, Recordings]:
    """An engine on the CPU that believes it has graphs."""
    engine, recordings = Engine(make_net("fcn32s", width=1 / 64), CPU, "fused"), Recordings()
    assert engine._recordings is None
    monkeypatch.setattr(engine, "_recordings", recordings)
    return engine, recordings


def pretend_to_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    # The compiler notes which function this is when it is first imported: later tests compile, with the real one.
    importlib.import_module("torch._dynamo")
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)


def test_each_function_has_its_own_name(recorded: tuple[Engine, Recordings]) -> None:
    """Labels, labels with confidence and logits of one shape must never share a recording."""
    engine, recordings = recorded
    x = torch.randn(1, 3, 3, 4)
    logits, labels, (again, confidence) = engine(x), engine.predict_labels(x), engine.predict_labels(x, confidence=True)
    assert [name.partition(" ")[0] for name in recordings.names] == ["logits", "labels", "confidence"]
    assert (logits.shape, labels.shape, confidence.shape) == ((1, 5, 3, 4), (1, 3, 4), (1, 3, 4))
    assert torch.equal(labels, again)


def test_what_cannot_be_recorded_is_run(recorded: tuple[Engine, Recordings], monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty batch has nothing to record, and a tracer wants the modules."""
    engine, recordings = recorded
    assert engine.predict_labels(torch.randn(0, 3, 3, 4)).shape == (0, 3, 4)
    pretend_to_trace(monkeypatch)
    assert engine(torch.randn(1, 3, 3, 4)).shape == (1, 5, 3, 4)
    assert recordings.names == []


def test_a_batch_that_memory_does_not_suffice_for_is_halved(recorded: tuple[Engine, Recordings]) -> None:
    engine, recordings = recorded
    x = torch.randn(5, 3, 3, 4)
    logits, (labels, confidence) = engine.graph(x), engine.graph.predict_labels(x, confidence=True)
    recordings.room = 2
    assert torch.allclose(engine(x), logits, atol=1e-5)
    assert len(recordings.names) == 5  # 5, then 3 and 2, then 3 as 2 and 1
    assert recordings.forgotten == 2
    found = engine.predict_labels(x, confidence=True)
    assert torch.equal(found[0], labels) and torch.allclose(found[1], confidence, atol=1e-2)


def test_then_graphs_are_given_up(recorded: tuple[Engine, Recordings]) -> None:
    engine, recordings = recorded
    x = torch.randn(2, 3, 3, 4)
    logits = engine.graph(x)
    recordings.graphs = False
    assert torch.allclose(engine(x), logits, atol=1e-5)


def test_then_the_error_says_what_was_needed(recorded: tuple[Engine, Recordings]) -> None:
    engine, recordings = recorded
    recordings.room = 0
    expected = r"one image of 4x3 pixels needs up to \d+\.\d GiB .* on cpu, and \d+\.\d GiB are free; pass resize=520"
    with pytest.raises(ImageError, match=expected):
        engine(torch.randn(2, 3, 3, 4))


def test_the_halo_can_be_switched_off(make_net: Any) -> None:
    x = torch.randn(1, 3, 9, 14) * 50
    shares, logits = [], []
    for halo in (True, False):
        torch.manual_seed(0)
        engine = Engine(make_net("fcn32s", width=1 / 64), CPU, "fused", halo=halo)
        assert isinstance(engine.graph, FusedFCN) and engine.graph.planned is not None
        schedule = engine.graph.planned.prepare(9, 14).schedule
        shares.append(schedule.multiplications / schedule.multiplications_without_halo)
        logits.append(engine(x))
    assert shares[0] < 0.7 < 0.95 < shares[1]
    assert (logits[0] - logits[1]).abs().max() <= 1e-5 * logits[0].abs().max()


@pytest.mark.parametrize("engine", ["fused", "eager"])
def test_an_engine_is_for_inference(engine: str, make_net: Any) -> None:
    """Its net was in training mode and trainable: dropout is off, and nothing asks for gradients."""
    net = make_net("fcn32s", width=1 / 64).train().requires_grad_(True)
    built = Engine(net, CPU, engine)
    x = torch.randn(1, 3, 3, 4)
    assert torch.equal(built(x), built(x))
    assert not built(x).requires_grad


def test_exact_and_rounded_products_have_their_own_recordings(recorded: tuple[Engine, Recordings]) -> None:
    """TF32 is torch's setting of the moment: a recording made under one must not be replayed under the other."""
    engine, recordings = recorded
    before = torch.backends.cudnn.allow_tf32
    try:
        for allowed in (True, False, True):
            torch.backends.cudnn.allow_tf32 = allowed
            engine(torch.randn(1, 3, 3, 4))
    finally:
        torch.backends.cudnn.allow_tf32 = before
    first, second, third = recordings.names
    assert first == third != second


def test_images_are_labelled_as_they_are_or_normalised(make_net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are where the plan is a GPU's; everywhere else, and in a tracer, normalised first."""
    rule = PRESETS["caffe-voc"]
    images = torch.randint(256, (2, 19, 30, 3), dtype=torch.uint8)
    net = make_net("fcn8s", width=1 / 32)
    expected = net(normalize(images.permute(0, 3, 1, 2), rule)).argmax(dim=1)

    def engine(name: str = "fused") -> Engine:
        return Engine(copy.deepcopy(net), CPU, name, normalization=rule)

    on_cpu, eager = engine(), engine("eager")
    monkeypatch.setattr("fcnrt.engine.fused.plan_on_cpu", lambda net, dtype, **_: plan_on_gpu(net, dtype))
    on_gpu = engine()
    recordings = Recordings()
    monkeypatch.setattr(on_gpu, "_recordings", recordings)
    for made, dtype in ((on_cpu, torch.float32), (eager, torch.float32), (on_gpu, torch.uint8)):
        assert made.to_input(images).dtype == dtype
        assert torch.equal(made.label_images(images).long(), expected)
    assert torch.equal(on_gpu(on_gpu.to_input(images)).argmax(dim=1), expected)
    assert on_gpu.label_images(images[:0]).shape == (0, 19, 30)
    assert [name.partition(" ")[0] for name in recordings.names] == ["labels", "logits"]
    with pytest.raises(InputError, match=r"images are torch.uint8 \[2, 3, 19, 30\]; expected torch.uint8 \[N,H,W,3\]"):
        on_gpu.label_images(images.permute(0, 3, 1, 2))
    pretend_to_trace(monkeypatch)
    assert on_gpu.to_input(images).dtype == torch.float32
