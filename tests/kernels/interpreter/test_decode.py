"""The one-launch decoder against float64 and against its twin: every weight kind at every level, odd windows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fcnrt_kernels import Refinement, decode, decode_labels, reference

pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's, at inf - inf

F16, F32 = torch.float16, torch.float32
INF, NAN = float("inf"), float("nan")
KERNEL = "decode_labels_kernel"
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Case:
    """A decoder; ``kinds`` and ``filters`` (kernel and stride) are those of its upsamplings, coarsest first."""

    kinds: tuple[str, ...]
    filters: tuple[tuple[int, int], ...] = ((4, 2), (4, 2), (16, 8))
    classes: int = 3
    batch: int = 1
    dtype: torch.dtype = F32
    layout: str = "channels_last"
    most: tuple[int, int] = (39, 53)
    """no more labels than this"""

    def __str__(self) -> str:
        filters = "-".join(f"{kernel}s{stride}" for kernel, stride in self.filters)
        kinds = self.kinds[0] if len(set(self.kinds)) == 1 else "+".join(self.kinds)
        return f"{kinds}-{filters}-{self.classes}x{self.batch}-{str(self.dtype)[6:]}-{self.layout}"


@dataclass
class Problem:
    scores: Tensor
    refinements: list[Refinement]
    last: dict[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.scores.shape[0], *self.last["size"])

    def twin(self) -> tuple[Tensor, Tensor]:
        """By the twins of the single ops."""
        scores = self.scores
        for level in self.refinements:
            scores = reference.score_upsample_add(scores, **vars(level))
        return reference.upsample_argmax_confidence(scores, **self.last)

    def logits(self, compose: Any, compose_score: Any) -> Tensor:
        """In float64."""
        scores = self.scores
        for level in self.refinements:
            scores = compose_score(scores, **vars(level))
        logits: Tensor = compose(scores, **self.last)
        return logits


def taps_of(kind: str, classes: int, kernel: int) -> Tensor | None:
    shape = {"bilinear": 0, "depthwise": 1, "dense": 2}[kind] * (classes,)
    return torch.randn(*shape, kernel, kernel) if shape else None


def problem_of(case: Case, lay_out: Any) -> Problem:
    """Windows somewhere in their maps, scores and skips of odd shapes."""
    rng = random.Random(str(case))
    edges = [rng.randint(2, 4), rng.randint(2, 5)]
    scores = lay_out(torch.randn(case.batch, case.classes, *edges), "transposed")
    levels: list[dict[str, Any]] = []
    for index, (kind, (kernel, stride)) in enumerate(zip(case.kinds, case.filters, strict=True)):
        most = case.most if index == len(case.kinds) - 1 else (99, 99)
        size, offset = [], []
        for edge, limit in zip(edges, most, strict=True):
            full = (edge - 1) * stride + kernel
            size.append(rng.randint(max(1, min(limit, full) - stride), min(limit, full)))
            offset.append(rng.randint(0, full - size[-1]))
        taps = taps_of(kind, case.classes, kernel)
        levels.append({"kernel": kernel, "stride": stride, "offset": offset, "size": size, "taps": taps})
        edges = size
    last = levels.pop()
    refinements = []
    for channels, level in zip((23, 16), levels, strict=False):
        skip_offset = [rng.randint(0, 5), rng.randint(0, 5)]
        skip_edges = [o + s + rng.randint(0, 2) for o, s in zip(skip_offset, level["size"], strict=True)]
        skip = lay_out(torch.randn(case.batch, channels, *skip_edges).to(case.dtype), case.layout)
        weight, bias = torch.randn(case.classes, channels).to(case.dtype), torch.randn(case.classes)
        scale = rng.choice([1.0, 0.1])
        refinements.append(Refinement(skip, weight, bias, skip_offset=skip_offset, scale=scale, **level))
    return Problem(scores, refinements, last)


RESNET = ((3, 2), (3, 2), (15, 8))
SMALL = ((4, 2), (4, 2), (8, 4))
CASES = [
    Case(("bilinear",) * 3, classes=5),
    Case(("bilinear",) * 3, RESNET, classes=4, batch=2, dtype=F16, layout="view"),
    Case(("bilinear",) * 3, SMALL, classes=70, most=(9, 13)),
    Case(("bilinear",) * 3, ((5, 2), (7, 3), (5, 3)), batch=2, layout="contiguous"),
    Case(("bilinear",) * 2, ((4, 2), (32, 16)), classes=2, dtype=F16, most=(67, 39)),
    Case(("bilinear",) * 2, ((3, 2), (31, 16)), classes=1, most=(40, 37)),
    Case(("depthwise",) * 3, classes=4, dtype=F16, batch=2),
    Case(("depthwise",) * 2, ((5, 2), (9, 4)), layout="transposed"),
    Case(("dense",) * 3, SMALL, layout="contiguous", most=(17, 19)),
    Case(("dense",) * 2, ((3, 2), (5, 2)), classes=35, dtype=F16, most=(7, 9)),
    Case(("dense", "bilinear", "depthwise"), SMALL, dtype=F16, most=(19, 29)),
    Case(("depthwise", "dense", "bilinear"), batch=2, most=(17, 23)),
    Case(("bilinear", "depthwise", "dense"), SMALL, classes=4, most=(17, 18)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_decode_labels(case: Case, run: Any, guarded: Any, compose: Any, compose_score: Any, lay_out: Any) -> None:
    problem = problem_of(case, lay_out)
    logits, twin = problem.logits(compose, compose_score), problem.twin()
    last = case.layout == "channels_last"
    labels = guarded(problem.shape, torch.uint8, poison=255, last=last)
    probability = guarded(problem.shape, F32, poison=NAN, last=not last)
    out = (labels, probability)
    result = run(KERNEL, decode_labels, problem.scores, problem.refinements, **problem.last, confidence=True, out=out)
    assert result is out
    best = logits.topk(min(2, case.classes), dim=1).values
    decided = (best[:, 0] - best[:, -1] > 2 * TOLERANCE * logits.abs().max()) | (case.classes == 1)
    assert decided.float().mean() > 0.98  # or the comparison would say nothing
    for result in (labels, twin[0]):
        assert torch.equal(result.long()[decided], logits.argmax(1)[decided])
    expected = logits.softmax(1).amax(1)
    for result in (probability, twin[1]):
        assert (result - expected).abs().max() <= 2 * TOLERANCE * logits.abs().max()


def test_programs_take_turns(monkeypatch: pytest.MonkeyPatch, run: Any, guarded: Any, lay_out: Any) -> None:
    """More tiles than programs: a scratch is used again, also by the other image."""
    monkeypatch.setattr(decode, "MAX_PROGRAMS", 2)
    problem = problem_of(Case(("bilinear",) * 3, SMALL, batch=2, most=(29, 31)), lay_out)
    labels = guarded(problem.shape, torch.uint8, poison=255)
    run(KERNEL, decode_labels, problem.scores, problem.refinements, **problem.last, out=labels)
    assert torch.equal(labels, problem.twin()[0])


@pytest.mark.parametrize("kinds", [("bilinear",) * 3, ("depthwise", "bilinear", "dense"), ("dense",) * 2], ids=str)
def test_ties_and_special_values(kinds: Sequence[str], run: Any, lay_out: Any) -> None:
    """The lowest of equal classes; NaN and infinities spread as far as the twins let them, and no further."""
    case = Case(tuple(kinds), SMALL[-len(kinds) :], classes=4, most=(21, 19))
    problem = problem_of(case, lay_out)
    same = [0, 1, 2, 1]  # the last class is the second one again
    problem.scores = problem.scores[:, same].clone()
    for index, level in enumerate(problem.refinements):
        taps = None if level.taps is None else alike(level.taps)
        changed: dict[str, Any] = {"weight": level.weight[same], "bias": level.bias[same], "taps": taps}
        problem.refinements[index] = replace(level, **changed)
    if problem.last["taps"] is not None:
        problem.last["taps"] = alike(problem.last["taps"])

    def check() -> Tensor:
        given = (problem.scores, problem.refinements)
        labels: Tensor
        probability: Tensor
        labels, probability = run(KERNEL, decode_labels, *given, **problem.last, confidence=True)
        expected = problem.twin()
        assert torch.equal(labels, expected[0])
        torch.testing.assert_close(probability.float(), expected[1], rtol=0, atol=2**-11, equal_nan=True)
        assert not (labels == 3).any()
        return probability

    assert bool(check().isfinite().all())
    coarsest, *positions = positions_that_reach_a_label(problem)
    first, last = problem.refinements[0], problem.refinements[-1]
    skip_pixel(last, positions[-1])[3] = NAN
    finite = check().isfinite()
    assert finite.any()
    assert not finite.all()
    problem.scores[0, 2, coarsest[0], coarsest[1]] = INF
    skip_pixel(first, positions[0])[2] = -INF
    check()


def positions_that_reach_a_label(problem: Problem) -> list[list[int]]:
    """One of each level, coarsest first."""
    edges = [problem.scores.shape[2:], *(level.size for level in problem.refinements)]
    found = [[0, 0]]  # a label
    for upsampling, edge in zip([problem.last, *map(vars, problem.refinements[::-1])], edges[::-1], strict=True):
        found.insert(
            0,
            [
                min((position + offset) // upsampling["stride"], length - 1)
                for position, offset, length in zip(found[0], upsampling["offset"], edge, strict=True)
            ],
        )
    return found[:-1]


def skip_pixel(level: Refinement, position: Sequence[int]) -> Tensor:
    y, x = (p + offset for p, offset in zip(position, level.skip_offset, strict=True))
    return level.skip[0, :, y, x]


def alike(taps: Tensor) -> Tensor:
    """Taps by which the last class is the second one again, bit for bit."""
    taps = taps.clone()
    if taps.ndim == 3:
        taps[3] = taps[1]
    else:
        taps[:, 3] = taps[:, 1]
    return taps


def test_without_skips_it_is_the_last_upsampling(run: Any) -> None:
    scores = torch.randn(2, 3, 4, 5)
    window: dict[str, Any] = {"kernel": 8, "stride": 4, "offset": (2, 3), "size": (11, 13)}
    labels = run("upsample_argmax_kernel", decode_labels, scores, [], **window)
    assert torch.equal(labels, reference.upsample_argmax(scores, None, **window))
    labels = run("upsample_argmax_kernel", decode_labels, scores, [], rule="half_pixel", size=(9, 7))
    assert torch.equal(labels, reference.upsample_argmax(scores, None, 1, 1, (0, 0), (9, 7), "half_pixel"))


def test_resized_levels_take_a_launch_each(run: Any, guarded: Any, lay_out: Any) -> None:
    problem = problem_of(Case(("bilinear",) * 3, SMALL, most=(17, 19)), lay_out)
    problem.refinements[1] = replace(problem.refinements[1], rule="align_corners", offset=(0, 0))
    labels = guarded(problem.shape, torch.uint8, poison=255)
    names = ["score_upsample_add_kernel"] * 2 + ["upsample_argmax_kernel"]
    run(names, decode_labels, problem.scores, problem.refinements, **problem.last, out=labels)
    assert torch.equal(labels, problem.twin()[0])


def test_past_255_classes(run: Any, guarded: Any, lay_out: Any) -> None:
    problem = problem_of(Case(("bilinear",) * 2, ((4, 2), (4, 2)), classes=260, most=(5, 4)), lay_out)
    problem.scores[:, 258] += 90  # else the last classes might win nowhere
    labels = guarded(problem.shape, torch.int32, poison=-1)
    run(KERNEL, decode_labels, problem.scores, problem.refinements, **problem.last, out=labels)
    assert labels.max() == 258
    assert torch.equal(labels, problem.twin()[0])
