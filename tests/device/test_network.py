"""Whole nets on the device, against the eager net in float64 on the CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import fcnrt
from benchmarks import nets
from benchmarks.contenders import Contender
from benchmarks.gate import check, measure, tolerance_of
from fcnrt.demo import demo_checkpoint, sample_images
from fcnrt.engine.graphs import CAPACITY
from fcnrt.images import read_image
from fcnrt.preprocessing import normalize

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
SIZES = ((1, 1, 3), (33, 47, 1), (33, 47, 3), (167, 241, 3), (375, 500, 1))
"""Height, width, batch."""
SLIM = 1 / 16
CPU = torch.device("cpu")

Record = Callable[[str, object], None]
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))


@functools.cache
def exact_net(width: float) -> torch.nn.Module:
    return nets.seeded_net(CPU, width).double()


@functools.cache
def exact_scores(height: int, width: int, batch: int, seed: int = 0, multiplier: float = 1.0) -> Tensor:
    """The oracle: float64 on the CPU."""
    net, x = exact_net(multiplier), nets.image(seed, height, width, batch)
    with torch.inference_mode():
        return net(x.double())  # type: ignore[no-any-return]


def compare(model: fcnrt.Segmenter, x: Tensor, expected: Tensor, *, trained: bool, record_property: Record) -> None:
    """Scores and labels of ``model`` agree with the oracle's as far as their type can."""
    scores, labels = model(x), model.predict_labels(x)
    assert scores.dtype == torch.float32
    assert labels.dtype == torch.uint8
    agreement = measure(scores.cpu(), labels.cpu(), expected)
    record_property("relative_error", agreement.relative_error)
    record_property("label_agreement", agreement.label_agreement)
    contender = Contender("fcnrt", model.dtype)
    check(agreement, tolerance_of(contender, trained=trained), contender.title)


@by_dtype
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "{}x{}-batch{}".format(*size))
def test_full_width(
    size: tuple[int, int, int], dtype: torch.dtype, cuda: torch.device, record_property: Record
) -> None:
    model = nets.seeded_segmenter(cuda, dtype)
    x = nets.image(0, *size).to(cuda)
    compare(model, x, exact_scores(*size), trained=False, record_property=record_property)


@by_dtype
@pytest.mark.parametrize("sample", range(3))
def test_demo_net(sample: int, dtype: torch.dtype, cuda: torch.device, record_property: Record) -> None:
    path = sample_images()[sample]
    model = fcnrt.load(demo_checkpoint(), device=cuda, dtype=dtype)
    exact = fcnrt.load(demo_checkpoint(), device="cpu", dtype=torch.float32).reference.double()
    pixels = torch.from_numpy(read_image(path)).permute(2, 0, 1)[None]
    x = normalize(pixels, model.spec.normalization)
    with torch.inference_mode():
        expected = exact(x.double())
    compare(model, x.to(cuda), expected, trained=True, record_property=record_property)
    segmented = model.segment(path)
    assert torch.equal(torch.from_numpy(segmented.labels), model.predict_labels(x.to(cuda))[0].cpu())


@by_dtype
def test_recorded_graphs_read_what_they_are_given(dtype: torch.dtype, cuda: torch.device) -> None:
    """More shapes than graphs are kept, each twice on fresh images; no result is written over by the next."""
    model = nets.seeded_segmenter(cuda, dtype, SLIM)
    problems = [(size, size + 7, 1, seed) for seed in range(2) for size in range(40, 40 + CAPACITY + 2)]
    kept: list[tuple[Tensor, Tensor]] = []
    for height, width, batch, seed in problems:
        x = nets.image(seed, height, width, batch).to(cuda)
        kept.append((model(x), model.predict_labels(x)))
    for problem, (scores, labels) in zip(problems, kept, strict=True):
        agreement = measure(scores.cpu(), labels.cpu(), exact_scores(*problem, SLIM))
        check(agreement, tolerance_of(Contender("fcnrt", dtype), trained=False), str(problem))
        chosen = scores.gather(1, labels.long()[:, None])[:, 0]
        assert (scores.amax(dim=1) - chosen).amax() <= 1e-5 * scores.abs().amax()


@by_dtype
def test_confidence(dtype: torch.dtype, cuda: torch.device) -> None:
    model = nets.seeded_segmenter(cuda, dtype, SLIM)
    x = nets.image(0, 61, 83, batch=2).to(cuda)
    labels, probability = model.predict_labels(x, confidence=True)
    expected = model(x).softmax(dim=1)
    best = expected.amax(dim=1)
    torch.testing.assert_close(probability.float(), best, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(expected.gather(1, labels.long()[:, None])[:, 0], best, rtol=1e-3, atol=1e-3)
