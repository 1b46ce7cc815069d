"""Several images in one call: batched as on a GPU, and still each its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import fcnrt
from fcnrt.models import create_model
from fcnrt.pipeline import AHEAD, Pipeline
from fcnrt.segmenter import Segmenter

SIZES = [(20, 31), (9, 40), (20, 31), (9, 40), (20, 31), (33, 17), (9, 40)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    torch.manual_seed(3)
    net = create_model("fcn8s", 5, width=1 / 32)
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    path = tmp_path_factory.mktemp("checkpoint") / "fcn8s.pt"
    torch.save(net.state_dict(), path)
    return fcnrt.load(path, device="cpu", dtype=torch.float32)


@pytest.fixture
def photos() -> list[Any]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]


def batch(model: Segmenter, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """From here on up to two images go together, as on a GPU with little memory; the shapes that the engine sees."""
    shapes: list[tuple[int, ...]] = []
    predict_labels = model.engine.predict_labels

    def seen(x: Tensor, confidence: bool = False) -> Any:
        shapes.append(tuple(x.shape))
        return predict_labels(x, confidence)

    monkeypatch.setattr(Pipeline, "_most_together", lambda *args: 2)
    monkeypatch.setattr(model.engine, "predict_labels", seen)
    return shapes


@pytest.fixture
def batched(model: Segmenter, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    return batch(model, monkeypatch)


def test_results_come_in_order(model: Segmenter, photos: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [model.segment(photo, confidence=True) for photo in photos]
    resized = [model.segment(photo, resize=11) for photo in photos]
    shapes = batch(model, monkeypatch)
    for given in (photos, iter(photos)):
        found = model.segment(given, confidence=True)
        for one, other, photo in zip(found, expected, photos, strict=True):
            assert one.image is not None and (one.image == photo).all()
            assert (one.labels == other.labels).mean() > 0.999  # oneDNN sums a batch in another order
            assert one.confidence is not None and other.confidence is not None
            assert np.abs(one.confidence - other.confidence).max() < 2e-3
            assert min(one.speed.values()) >= 0
    assert sorted(shapes[: len(shapes) // 2]) == sorted(
        [(2, 3, 20, 31), (2, 3, 9, 40), (1, 3, 20, 31), (1, 3, 33, 17), (1, 3, 9, 40)]
    )
    for one, other in zip(model.segment(photos, resize=11), resized, strict=True):
        assert (one.labels == other.labels).mean() > 0.999


def test_an_iterable_is_read_a_little_ahead(
    model: Segmenter, photos: list[Any], batched: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a batch is under way the next is read, and no more."""
    finished = 0
    finish = Pipeline._finish

    def count(pipeline: Pipeline, batch: Any) -> Any:
        nonlocal finished
        finished += len(batch.items)
        return finish(pipeline, batch)

    monkeypatch.setattr(Pipeline, "_finish", count)

    def images() -> Iterator[Any]:
        for index in range(12):
            assert index - finished <= 2 * (1 + AHEAD), "too many are held"
            yield photos[0]

    assert len(model.segment(images())) == 12


def test_an_image_that_cannot_be_read_fails_after_those_before_it(
    model: Segmenter, photos: list[Any], batched: list[tuple[int, ...]]
) -> None:
    with pytest.raises(fcnrt.ImageError, match=r"missing\.png: does not exist"):
        model.segment([*photos[:3], Path("missing.png"), photos[4]])
    assert len(batched) == 2


def test_a_cpu_takes_one_by_one(model: Segmenter, photos: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch gains nothing there."""
    together = Pipeline._most_together
    shapes = batch(model, monkeypatch)
    monkeypatch.setattr(Pipeline, "_most_together", together)
    model.segment([photos[0]] * 3)
    assert shapes == [(1, 3, 20, 31)] * 3


def test_most_together_is_what_memory_holds(model: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Pipeline(model.engine, model.spec, False, None)
    needed = model.engine.peak_elements(20, 30) * 4
    monkeypatch.setattr(pipeline, "_device", torch.device("cuda", 0))
    for available, most in ((needed, 1), (5 * needed + 1, 5), (99 * needed, 16)):
        monkeypatch.setattr("fcnrt.pipeline.available_memory", lambda device, room=available: room)
        assert pipeline._most_together((20, 30), (20, 30), "image") == most
    monkeypatch.setattr("fcnrt.pipeline.available_memory", lambda device: needed - 1)
    with pytest.raises(fcnrt.ImageError, match="photo: 30x20 pixels need"):
        pipeline._most_together((20, 30), (20, 30), "photo")
