"""Whole nets on the device, against the eager net in float64 there: cuDNN's kernels, none of ours."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import fcnrt
from benchmarks import nets
from benchmarks.contenders import Contender
from benchmarks.gate import Agreement, check, measure, tolerance_of
from fcnrt.demo import demo_checkpoint, sample_images
from fcnrt.demo.scenes import scene
from fcnrt.engine import Placement
from fcnrt.engine.graphs import CAPACITY
from fcnrt.images import read_image
from fcnrt.preprocessing import normalize

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
SIZES = (
    *((1, 1, 3), (33, 47, 1), (33, 47, 3), (167, 241, 3), (375, 500, 1)),
    *((500, 500, 1), (640, 481, 3), (500, 500, 16), (1024, 2048, 1)),
)
"""Height, width, batch."""
SLIM = 1 / 16

Record = Callable[[str, object], None]
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))


@functools.cache
def exact_net(width: float) -> torch.nn.Module:
    return nets.seeded_net(torch.device("cuda"), width).double()


@functools.cache
def exact_scores(height: int, width: int, batch: int, seed: int = 0, multiplier: float = 1.0) -> Tensor:
    """The oracle, brought to the CPU."""
    net, x = exact_net(multiplier), nets.image(seed, height, width, batch)
    with torch.inference_mode():
        return net(x.to("cuda").double()).cpu()  # type: ignore[no-any-return]


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
def test_demo_net(dtype: torch.dtype, cuda: torch.device, record_property: Record) -> None:
    """All samples together: how many labels of a trained net are kept, and that ``segment`` gives the same."""
    model = fcnrt.load(demo_checkpoint(), device=cuda, dtype=dtype)
    exact = fcnrt.load(demo_checkpoint(), device=cuda, dtype=torch.float32).reference.double()
    kept = pixels = 0
    errors = []
    for path in sample_images():
        image = torch.from_numpy(read_image(path)).permute(2, 0, 1)[None]
        x = normalize(image, model.spec.normalization)
        with torch.inference_mode():
            expected = exact(x.to(cuda).double()).cpu()
        scores, labels = model(x.to(cuda)), model.predict_labels(x.to(cuda))
        agreement = measure(scores.cpu(), labels.cpu(), expected)
        kept += round(agreement.label_agreement * labels.numel())
        pixels += labels.numel()
        errors.append(agreement.relative_error or 0.0)
        segmented = torch.from_numpy(model.segment(path).labels)
        # The kernel normalises in one multiplication and one addition.
        assert (segmented != labels[0].cpu()).sum() <= labels.numel() * 1e-4
    record_property("relative_error", max(errors))
    record_property("label_agreement", kept / pixels)
    contender = Contender("fcnrt", dtype)
    check(Agreement(max(errors), kept / pixels), tolerance_of(contender, trained=True), contender.title)


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


def test_images_of_mixed_sizes(cuda: torch.device) -> None:
    """Pixels go straight into the first convolution, equal sizes together; each image gets what it gets alone."""
    model = nets.seeded_segmenter(cuda, torch.float32, SLIM)
    sizes = [(61, 83), (40, 33), (61, 83), (61, 83), (40, 33), (1, 1)]
    images = [scene(seed, *size)[0] for seed, size in enumerate(sizes)]
    together = model.segment(images)
    for image, found in zip(images, together, strict=True):
        x = normalize(torch.from_numpy(image).permute(2, 0, 1)[None], model.spec.normalization).to(cuda)
        with torch.inference_mode():
            best = nets.seeded_net(cuda, SLIM)(x)[0].cpu().topk(2, dim=0)
        wrong = torch.from_numpy(found.labels).long() != best.indices[0]
        assert not (wrong & (best.values[0] - best.values[1] > 1e-4 * best.values.abs().max())).any()


def test_activations_beyond_float16(cuda: torch.device) -> None:
    """A net 10,000 times as loud in its middle: powers of two fold into its weights, and no label is lost."""
    spec = nets.seeded_segmenter(cuda, torch.float16, SLIM).spec
    weights = {name: tensor.clone() for name, tensor in nets.seeded_weights(SLIM).items()}
    loud = [f"conv{block}" for block in (1, 2, 3, 4, 5)]
    weights["conv1_1.weight"] *= 1e4
    for name in weights:
        if name.endswith(".bias") and name.startswith((*loud, "fc")):
            weights[name] *= 1e4
    for name in ("score_fr.weight", "score_pool4.weight", "score_pool3.weight"):
        weights[name] *= 1e-4
    model = fcnrt.Segmenter(spec, weights, Placement(cuda, torch.float16, "a test asked for it"), "fused")
    x = nets.image(5, 61, 83, batch=2).to(cuda)
    with torch.inference_mode():
        expected = model.reference.double()(x.double())
    agreement = measure(model(x).cpu(), model.predict_labels(x).cpu(), expected.cpu())
    assert agreement.relative_error is not None
    assert agreement.relative_error <= 4e-3
