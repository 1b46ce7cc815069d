"""A model beside its eager reference on this machine: time, memory, agreement."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from fcnrt.segmenter import Segmenter

# Read once, when the profiler starts for the first time: it would write a line to stderr at every start and stop.
os.environ.setdefault("KINETO_LOG_LEVEL", "6")

Call = Callable[[], Any]


@dataclass(frozen=True)
class Cost:
    """Of labelling one batch: median seconds, and the peak of what activations take, in bytes."""

    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class Agreement:
    """With the eager float32 reference, the worst of all heads."""

    relative_error: float
    """of the logits, in the Euclidean norm"""
    labels: float
    """the share of pixels with the same label"""


@dataclass(frozen=True)
class Comparison:
    """A model and its reference on the same input, in the same minutes."""

    eager: Cost
    fused: Cost
    agreement: Agreement

    @property
    def ratio(self) -> float:
        """How many times as fast as the reference."""
        return self.eager.seconds / self.fused.seconds


@dataclass(frozen=True)
class Startup:
    """Seconds until a size has been planned with its constants, and of the first call after that."""

    plan: float
    first: float


def start_up(model: Segmenter, x: Tensor) -> Startup:
    """What the first input of a size costs; ``model`` must not have seen the size before.

    Args:
        model: a freshly loaded model.
        x: normalised images, ``[N,C,H,W]``.
    """
    return Startup(
        _seconds(lambda: plan_for(model.engine.graph, x), model.device),
        _seconds(lambda: model.predict_labels(x), model.device),
    )


def compare(model: Segmenter, x: Tensor, repeats: int) -> Comparison:
    """Run ``model`` and ``model.reference`` in turn, after one call of each that is not counted.

    Args:
        model: the model.
        x: normalised images, ``[N,C,H,W]``.
        repeats: timed calls of each.
    """
    x = x.to(model.device)

    def eager() -> Any:
        return _each_head(model.reference(x), lambda scores: scores.argmax(dim=1))

    def fused() -> Any:
        return model.predict_labels(x)

    with torch.inference_mode():
        agreement = agree(model(x), model.predict_labels(x), model.reference(x))
        memory = peak_bytes(eager, model.device), _first_peak(model, x)
        eager_seconds, fused_seconds = in_turn((eager, fused), repeats, model.device)
    return Comparison(Cost(eager_seconds, memory[0]), Cost(fused_seconds, memory[1]), agreement)


def in_turn(calls: Sequence[Call], repeats: int, device: torch.device) -> list[float]:
    """Median seconds of each of ``calls``, run one after another, so that a slow minute strikes all alike."""
    for call in calls:
        call()
    rounds = [[_seconds(call, device) for call in calls] for _ in range(repeats)]
    return [statistics.median(taken) for taken in zip(*rounds, strict=True)]


def peak_bytes(call: Call, device: torch.device) -> int:
    """The most that ``call`` holds at any moment, over what was held before it, its result included.

    It is the high-water mark of torch's allocator, as that itself reports it: on the CPU through the profiler's events
    of memory, among which are those of oneDNN's buffers. What a model keeps from call to call is not seen, so a model
    that keeps its buffers shows them at its first call alone.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as recorded:
        result = call()
    del result
    held = peak = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def agree(outputs: Any, labels: Any, reference: Any) -> Agreement:
    """Compare logits and labels with the reference's logits; all three are dicts by head where there are several."""
    if not isinstance(reference, dict):
        return Agreement(relative_error(outputs, reference), label_agreement(labels, reference))
    return Agreement(
        max(relative_error(outputs[head], scores) for head, scores in reference.items()),
        min(label_agreement(labels[head], scores) for head, scores in reference.items()),
    )


def relative_error(scores: Tensor, reference: Tensor) -> float:
    """Of ``scores`` against ``reference``, in the Euclidean norm."""
    exact = reference.double()
    return float((scores.double() - exact).norm() / exact.norm())


def label_agreement(labels: Tensor, reference: Tensor) -> float:
    """The share of ``labels`` ``[N,H,W]`` that are the best class of ``reference`` ``[N,C,H,W]``."""
    return float((labels.long() == reference.argmax(dim=1)).double().mean())


def plan_for(graph: Any, x: Tensor) -> None:
    """Let the CPU's plan for the size of ``x``, and its constants, be made now and not in the next call."""
    planned = getattr(graph, "planned", None)
    if planned is not None:
        planned.prepare(x.shape[2], x.shape[3])


def _first_peak(model: Segmenter, x: Tensor) -> int:
    """The memory of the first call of another model on the same weights: ``model`` itself has its buffers already."""
    with torch.inference_mode(False):
        fresh = Segmenter(model.spec, model.reference.state_dict(), model.engine.placement, model.engine_name)
    plan_for(fresh.engine.graph, x)
    return peak_bytes(lambda: fresh.predict_labels(x), model.device)


def _seconds(call: Call, device: torch.device) -> float:
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _each_head(outputs: Any, then: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(outputs, dict):
        return {head: then(scores) for head, scores in outputs.items()}
    return then(outputs)
