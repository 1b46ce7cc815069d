"""How time is taken: warm, synchronised, on inputs that the caches have forgotten, as a median."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

Run = Callable[..., Any]
Inputs = tuple[Tensor, ...]

WARM_UP_SECONDS = 0.3
MOST_ROUNDS = 2000
LARGEST_ROTATION = 256


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rotation(inputs: Inputs, device: torch.device) -> list[Inputs]:
    """Copies of ``inputs``, enough to overflow a GPU's L2 twice before the first comes round again.

    On a CPU there is one: the last-level cache of a server holds more than the maps of any layer, and both sides
    find it equally warm.
    """
    if device.type != "cuda":
        return [inputs]
    cache = torch.cuda.get_device_properties(device).L2_cache_size
    size = sum(tensor.numel() * tensor.element_size() for tensor in inputs)
    copies = min(LARGEST_ROTATION, math.ceil(2 * cache / size) + 1)
    return [inputs, *(tuple(tensor.clone() for tensor in inputs) for _ in range(copies - 1))]


def timed_call(run: Run, sets: list[Inputs], device: torch.device) -> Callable[[], None]:
    """One call on the next of ``sets``, finished when it returns."""
    upcoming: Iterator[Inputs] = itertools.cycle(sets)

    def call() -> None:
        run(*next(upcoming))
        synchronize(device)

    return call


def warm_up(call: Callable[[], None]) -> float:
    """Run ``call`` until it has settled; seconds of the last call.

    It has run once before, for the gate, so a call of seconds runs once more and a short one many times.
    """
    begin = time.perf_counter()
    while True:
        start = time.perf_counter()
        call()
        end = time.perf_counter()
        if end - begin >= WARM_UP_SECONDS:
            return end - start


def rounds_for(seconds: float, max_time: float, min_rounds: int) -> int:
    """Rounds of a call that takes ``seconds``: as many as fit into ``max_time``, within bounds."""
    return max(min_rounds, min(MOST_ROUNDS, int(max_time / max(seconds, 1e-9))))


def device_seconds(run: Run, sets: list[Inputs], repeats: int = 30) -> float | None:
    """Median time of one call on the GPU alone, without what the host takes to launch it.

    A CUDA graph holds one call on each of ``sets``, and CUDA events time its replays. None where the calls cannot be
    captured.
    """
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for inputs in sets:
                run(*inputs)
    except RuntimeError:
        return None
    graph.replay()
    taken: list[float] = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        taken.append(start.elapsed_time(end) / 1e3 / len(sets))
    return statistics.median(taken)
