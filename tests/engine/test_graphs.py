"""The cache of recordings, with a recorder that needs no GPU."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from fcnrt.engine.graphs import GraphCache, Recording
from fcnrt.engine.keeping import keep


class Event:
    """Stands for a CUDA event; counts."""

    def __init__(self, log: list[str]) -> None:
        self._log = log

    def record(self) -> None:
        self._log.append("record")

    def wait(self) -> None:
        self._log.append("wait")


class Recorder:
    """Records by keeping the function, and writes its result into the same buffers at each replay, as CUDA does."""

    def __init__(self) -> None:
        self.captured: list[tuple[int, ...]] = []
        self.log: list[str] = []

    def capture(self, run: Callable[[Tensor], Any], x: Tensor) -> Recording:
        self.captured.append(tuple(x.shape))
        inputs = x.clone()
        outputs = run(inputs)

        def replay() -> None:
            fresh = run(inputs)
            pairs = zip(outputs, fresh, strict=True) if isinstance(outputs, tuple) else [(outputs, fresh)]
            for buffer, result in pairs:
                buffer.copy_(result)

        return Recording(inputs, outputs, replay)

    def cache(self, capacity: int = 2) -> GraphCache:
        return GraphCache(capacity, self.capture, lambda: Event(self.log))


def twice(x: Tensor) -> Tensor:
    return 2 * x


def test_results_are_copies_that_the_next_call_spares() -> None:
    recorder = Recorder()
    cache = recorder.cache()
    first = cache("twice", twice, torch.ones(2, 3))
    second = cache("twice", twice, torch.full((2, 3), 5.0))
    assert torch.equal(first, torch.full((2, 3), 2.0))
    assert torch.equal(second, torch.full((2, 3), 10.0))
    assert recorder.captured == [(2, 3)]
    pair = cache("pair", lambda x: (x, x + 1), torch.zeros(2, 3))
    cache("pair", lambda x: (x, x + 1), torch.ones(2, 3))
    assert [float(t.sum()) for t in pair] == [0.0, 6.0]
    assert recorder.log == ["record", "wait", "record", "wait", "record", "wait", "record"]


def test_heads_are_copied_too() -> None:
    def heads(x: Tensor) -> dict[str, Any]:
        return {"a": x + 1, "b": (x, 2 * x)}

    captured = heads(torch.zeros(2))
    cache = GraphCache(1, lambda run, x: Recording(x.clone(), captured, lambda: None), lambda: Event([]))
    result = cache("heads", heads, torch.zeros(2))
    assert result.keys() == captured.keys()
    for copy, buffer in ((result["a"], captured["a"]), (result["b"][1], captured["b"][1])):
        assert torch.equal(copy, buffer)
        assert copy.data_ptr() != buffer.data_ptr()


def test_inputs_of_any_strides_share_a_recording() -> None:
    recorder = Recorder()
    cache = recorder.cache()
    x = torch.arange(24.0).view(1, 2, 3, 4)
    for same in (x, x.contiguous(memory_format=torch.channels_last), x.mT.contiguous().mT):
        assert torch.equal(cache("twice", twice, same), 2 * x)
    assert len(recorder.captured) == 1


def test_the_least_recently_used_goes_first() -> None:
    recorder = Recorder()
    cache = recorder.cache(capacity=2)
    for length in (1, 2, 1, 3, 1, 2):
        assert torch.equal(cache("twice", twice, torch.ones(length)), torch.full((length,), 2.0))
        assert len(cache) <= 2
    assert recorder.captured == [(1,), (2,), (3,), (2,)]


def test_types_and_functions_have_their_own_recordings() -> None:
    recorder = Recorder()
    cache = recorder.cache(capacity=9)
    cache("twice", twice, torch.ones(4))
    cache("twice", twice, torch.ones(4, dtype=torch.float64))
    assert torch.equal(cache("thrice", lambda x: 3 * x, torch.ones(4)), torch.full((4,), 3.0))
    assert len(cache) == 3


def test_a_failed_capture_warns_once_and_runs_without(caplog: pytest.LogCaptureFixture) -> None:
    def fail(run: Callable[[Tensor], Any], x: Tensor) -> Recording:
        raise RuntimeError("operation not permitted when stream is capturing")

    cache = GraphCache(2, fail, lambda: Event([]))
    with caplog.at_level(logging.WARNING):
        for value in (1.0, 2.0):
            assert torch.equal(cache("twice", twice, torch.full((3,), value)), torch.full((3,), 2 * value))
    assert [record.message for record in caplog.records] == [
        "no CUDA graph for input [3], running without: operation not permitted when stream is capturing"
    ]


def test_a_recording_outlives_inference_mode() -> None:
    cache = Recorder().cache()
    with torch.inference_mode():
        cache("twice", twice, torch.ones(3))
    result = cache("twice", twice, torch.full((3,), 4.0))
    assert not result.is_inference()
    assert torch.equal(result, torch.full((3,), 8.0))


def test_a_recording_does_not_grow_a_history() -> None:
    """An input that wants gradients leaves no trace in the buffers: they live as long as the cache."""
    recorder = Recorder()
    cache = recorder.cache()
    for _ in range(2):
        result = cache("twice", twice, torch.ones(3, requires_grad=True))
        assert not result.requires_grad
    (recording,) = cache._recordings.values()
    assert recording is not None
    assert recording.inputs.grad_fn is None


def test_what_a_recording_reads_lives_as_long_as_it() -> None:
    """And no longer: its owner lets go of it at once, the cache when the recording goes."""

    class Constants:
        """What a graph would read by its address."""

    def use(x: Tensor) -> Tensor:
        constants = Constants()
        alive.append(weakref.ref(constants))
        keep(constants)
        return x + 1

    alive: list[weakref.ref[Constants]] = []
    cache = Recorder().cache(capacity=1)
    cache("use", use, torch.ones(3))
    assert alive[0]() is not None
    cache("twice", twice, torch.ones(3))
    gc.collect()
    assert alive[0]() is None
    cache("use", use, torch.ones(3))
    recorded = len(alive)
    cache.forget()
    gc.collect()
    assert all(constants() is None for constants in alive[:recorded])
    assert len(cache) == 0


def test_memory_that_runs_out_is_said() -> None:
    """It is not a graph that failed: without one there would be no more memory."""

    def fail(run: Callable[[Tensor], Any], x: Tensor) -> Recording:
        raise torch.OutOfMemoryError("CUDA out of memory")

    cache = GraphCache(2, fail, lambda: Event([]))
    with pytest.raises(torch.OutOfMemoryError):
        cache("twice", twice, torch.ones(3))
    assert len(cache) == 0


def test_a_call_may_do_without() -> None:
    recorder = Recorder()
    cache = recorder.cache()
    assert torch.equal(cache("twice", twice, torch.ones(3), record=False), torch.full((3,), 2.0))
    assert (recorder.captured, len(cache), recorder.log) == ([], 0, ["record"])


def test_calls_without_a_graph_are_ordered_too() -> None:
    """They free memory that calls on other streams may still read."""

    def fail(run: Callable[[Tensor], Any], x: Tensor) -> Recording:
        raise RuntimeError("operation not permitted when stream is capturing")

    log: list[str] = []
    cache = GraphCache(2, fail, lambda: Event(log))
    for _ in range(2):
        cache("twice", twice, torch.ones(3))
    assert log == ["record", "wait", "record"]


def test_a_failure_leaves_the_cache_usable() -> None:
    cache = Recorder().cache()

    def broken(x: Tensor) -> Tensor:
        raise ValueError("not of a capture")

    for _ in range(2):  # and it is not remembered
        with pytest.raises(ValueError, match="not of a capture"):
            cache("broken", broken, torch.ones(3))
    assert torch.equal(cache("twice", twice, torch.ones(3)), torch.full((3,), 2.0))
    assert len(cache) == 1


def test_threads_do_not_see_each_others_buffers() -> None:
    cache = Recorder().cache()
    wrong: list[float] = []

    def work(value: float) -> None:
        for _ in range(200):
            result = cache("twice", twice, torch.full((64,), value))
            if not torch.equal(result, torch.full((64,), 2 * value)):
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(float(value),)) for value in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
