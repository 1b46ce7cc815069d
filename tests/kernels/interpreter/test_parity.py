"""The Triton kernels against their torch twins and against torch.nn in float64, over odd shapes of every kind."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from fcnrt_kernels import reference, score_upsample_add, upsample_argmax, upsample_crop

TOLERANCE = 1e-5
"""Of the largest float64 result: what the project promises for float32."""


@dataclass(frozen=True)
class Case:
    """One problem. ``kind`` is what the taps are, or the rule of an interpolation."""

    kind: str
    classes: int
    kernel: int = 4
    stride: int = 2
    batch: int = 1
    dtype: torch.dtype = torch.float32
    layout: str = "contiguous"
    most: tuple[int, int] = (9, 13)
    """no larger window than this"""

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{self.kind}-k{self.kernel}s{self.stride}-{self.classes}x{self.batch}-{dtype}-{self.layout}"

    @property
    def transposed(self) -> bool:
        return self.kind in ("bilinear", "depthwise", "dense")

    def kernel_name(self, op: str) -> str:
        return f"{op}_dense_kernel" if self.kind == "dense" else f"{op}_kernel"

    def arguments(self) -> dict[str, Any]:
        """Random scores of an odd shape, and a window somewhere in their upsampled map."""
        rng = random.Random(str(self))
        edges = [rng.randint(1, 6), rng.randint(1, 7)]
        scores = torch.randn(self.batch, self.classes, *edges).to(self.dtype)
        if not self.transposed:
            size = [rng.randint(1, most) for most in self.most]
            whole = {"taps": None, "kernel": 1, "stride": 1, "offset": [0, 0]}
            return {"scores": scores, "size": size, "rule": self.kind, **whole}
        size, offset = [], []
        for edge, most in zip(edges, self.most, strict=True):
            full = (edge - 1) * self.stride + self.kernel
            size.append(rng.randint(max(1, min(most, full) // 2), min(most, full)))
            offset.append(rng.randint(0, full - size[-1]))
        shape = {"bilinear": 0, "depthwise": 1, "dense": 2}[self.kind] * (self.classes,)
        return {
            "scores": scores,
            "taps": torch.randn(*shape, self.kernel, self.kernel) if shape else None,
            "kernel": self.kernel,
            "stride": self.stride,
            "offset": offset,
            "size": size,
            "rule": "transposed",
        }


F16 = torch.float16
SEPARATE = [
    case
    for kind in ("bilinear", "depthwise")
    for case in (
        Case(kind, 1, batch=3, layout="view"),
        Case(kind, 2, layout="channels_last", most=(19, 67)),
        Case(kind, 40 if kind == "bilinear" else 17, dtype=F16),
        Case(kind, 2, 16, 8, batch=3, dtype=F16, layout="transposed"),
        Case(kind, 21 if kind == "depthwise" else 5, 16, 8, layout="view", most=(16, 21)),
        Case(kind, 2, 32, 16, dtype=F16, layout="view", most=(33, 33)),
        Case(kind, 2, 64, 32, most=(17, 65)),
        Case(kind, 2, 63, 32, layout="channels_last", most=(47, 33)),
    )
]
STRETCHED = [
    case
    for rule in ("half_pixel", "align_corners", "nearest")
    for case in (
        Case(rule, 2, batch=2, layout="view", most=(23, 37)),
        Case(rule, 3, dtype=F16, layout="channels_last", most=(2, 40)),
        Case(rule, 1, layout="transposed", most=(1, 5)),
    )
]
MIXED = [
    Case("dense", 1, batch=3, layout="view"),
    Case("dense", 2, dtype=F16, layout="channels_last", most=(19, 23)),
    Case("dense", 21, layout="transposed"),
    Case("dense", 40, dtype=F16, layout="view"),
    Case("dense", 70),
]
SAMPLED = [
    Case("dense", 2, 16, 8, batch=2, layout="view", most=(21, 23)),
    Case("dense", 3, 32, 16, dtype=F16, most=(35, 35)),
    Case("dense", 2, 64, 32, most=(66, 70)),
    Case("dense", 2, 63, 32, layout="view", most=(65, 69)),
]
"""Large strides, of which a few phases are run: the corners, and some between."""

every_case = pytest.mark.parametrize("case", SEPARATE + STRETCHED + MIXED, ids=str)


def assert_close(result: Tensor, expected: Tensor) -> None:
    assert result.shape == expected.shape
    error = (result.double() - expected.double()).abs().max().item()
    assert error <= TOLERANCE * expected.abs().max().item()


def assert_labels(labels: Tensor, logits: Tensor) -> None:
    """Labels are the argmax of float64 logits, wherever the two best are further apart than the tolerance."""
    wrong = labels.long() != logits.argmax(1)
    if logits.shape[1] > 1:
        best = logits.topk(2, dim=1).values
        decided = best[:, 0] - best[:, 1] > 2 * TOLERANCE * logits.abs().max()
        assert decided.float().mean() > 0.99  # or the comparison would say nothing
        wrong &= decided
    assert not wrong.any()


@every_case
def test_upsample_crop(case: Case, run: Any, guarded: Any, compose: Any, lay_out: Any) -> None:
    arguments = case.arguments()
    expected, twin = compose(**arguments), reference.upsample_crop(**arguments)
    out = guarded(expected.shape, torch.float32, poison=float("nan"), last=case.layout == "channels_last")
    arguments["scores"] = lay_out(arguments["scores"], case.layout)
    result = run(case.kernel_name("upsample_crop"), upsample_crop, **arguments, out=out)
    assert result is out
    assert_close(result, expected)
    assert_close(result, twin)


@every_case
def test_upsample_argmax(case: Case, run: Any, guarded: Any, compose: Any, lay_out: Any) -> None:
    arguments = case.arguments()
    logits, twin = compose(**arguments), reference.upsample_argmax_confidence(**arguments)
    shape, last = (case.batch, *arguments["size"]), case.layout == "channels_last"
    labels = guarded(shape, torch.uint8, poison=255, last=last)
    probability = guarded(shape, torch.float32, poison=float("nan"), last=not last)
    arguments["scores"] = lay_out(arguments["scores"], case.layout)
    out = labels, probability
    run(case.kernel_name("upsample_argmax"), upsample_argmax, **arguments, confidence=True, out=out)
    assert_labels(labels, logits)
    assert_labels(twin[0], logits)
    assert_close(probability, logits.softmax(1).amax(1))
    assert_close(probability, twin[1])


@pytest.mark.parametrize("kind", ["bilinear", "dense"])
def test_upsample_argmax_past_255_classes(kind: str, run: Any, guarded: Any, compose: Any) -> None:
    case = Case(kind, 260, dtype=F16, most=(5, 4))
    arguments = case.arguments()
    arguments["scores"][:, 258] += 9  # else the last classes might win nowhere
    if kind == "dense":
        arguments["taps"] *= 0.01
        arguments["taps"][258, 258] += 1
    labels = guarded((1, *arguments["size"]), torch.int32, poison=-1)
    run(case.kernel_name("upsample_argmax"), upsample_argmax, **arguments, out=labels)
    assert labels.max() == 258
    assert_labels(labels, compose(**arguments))


def skip_arguments(case: Case, channels: int, scale: float) -> dict[str, Any]:
    """A skip, its score layer and its crop, to go with a case."""
    arguments = case.arguments()
    rng = random.Random(channels)
    skip_offset = [rng.randint(0, 5), rng.randint(0, 5)]
    edges = [o + s + rng.randint(0, 2) for o, s in zip(skip_offset, arguments["size"], strict=True)]
    upsampling = {"taps": None, "kernel": 1, "stride": 1, "offset": [0, 0], "rule": "transposed"}
    return (
        upsampling
        | {"coarse" if key == "scores" else key: value for key, value in arguments.items()}
        | {
            "skip": torch.randn(case.batch, channels, *edges).to(case.dtype),
            "weight": torch.randn(case.classes, channels).to(case.dtype),
            "bias": torch.randn(case.classes),
            "skip_offset": skip_offset,
            "scale": scale,
        }
    )


def check_score(case: Case, arguments: dict[str, Any], run: Any, guarded: Any, lay_out: Any) -> Tensor:
    """Runs the score op on awkward memory, the coarse scores in another order than the skip."""
    coarse, skip = arguments["coarse"], arguments["skip"]
    shape = (*coarse.shape[:2], *arguments["size"])
    out = guarded(shape, torch.float32, poison=float("nan"), last=case.layout == "channels_last")
    other = {"contiguous": "view", "view": "channels_last", "channels_last": "transposed"}
    awkward = {
        "coarse": lay_out(coarse, other.get(case.layout, "contiguous")),
        "skip": lay_out(skip, case.layout),
    }
    result: Tensor = run("score_upsample_add_kernel", score_upsample_add, **arguments | awkward, out=out)
    return result


CHANNELS = (1, 7, 16, 70)


@every_case
def test_score_upsample_add(case: Case, run: Any, guarded: Any, compose_score: Any, lay_out: Any) -> None:
    channels = CHANNELS[case.classes % len(CHANNELS)]
    arguments = skip_arguments(case, channels, scale=1.0 if case.batch > 1 else 0.01)
    expected, twin = compose_score(**arguments), reference.score_upsample_add(**arguments)
    result = check_score(case, arguments, run, guarded, lay_out)
    assert_close(result, expected)
    assert_close(result, twin)


@pytest.mark.parametrize("case", SAMPLED, ids=str)
def test_large_dense_strides(
    case: Case,
    run: Any,
    compose: Any,
    compose_score: Any,
    lay_out: Any,
    only_phases: Callable[[Sequence[int]], None],
) -> None:
    stride = case.stride
    phases = [0, stride - 1, stride + 1, stride * stride // 2 + 3, stride * (stride - 1), stride * stride - 1]
    only_phases(phases)
    arguments = case.arguments()
    rows, columns = (
        torch.arange(first, first + length) % stride
        for first, length in zip(arguments["offset"], arguments["size"], strict=True)
    )
    ran = torch.isin(rows[:, None] * stride + columns, torch.tensor(phases))
    assert ran.any()

    def check(name: str, op: Callable[..., Any], expected: Tensor, given: dict[str, Any]) -> None:
        out = torch.full(expected.shape, float("nan"))
        run(name, op, **given, out=out)
        assert_close(out[..., ran], expected[..., ran])
        assert bool(out[..., ~ran].isnan().all()), "a program wrote pixels of another phase"

    laid_out = arguments | {"scores": lay_out(arguments["scores"], case.layout)}
    check("upsample_crop_dense_kernel", upsample_crop, compose(**arguments), laid_out)

    labels = torch.full((case.batch, *arguments["size"]), 255, dtype=torch.uint8)
    run("upsample_argmax_dense_kernel", upsample_argmax, **laid_out, out=labels)
    assert_labels(labels[..., ran][:, None], compose(**arguments)[..., ran][:, :, None])
    assert bool((labels[..., ~ran] == 255).all())

    scored = skip_arguments(case, channels=5, scale=1.0)
    check("score_upsample_add_kernel", score_upsample_add, compose_score(**scored), scored)
