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

from fcnrt.engine.graphs import GraphCache, Recording, StreamOrder
from fcnrt.engine.keeping import keep


class Cuda:
    """Stands for ``torch.cuda``, with one current stream; writes down what streams wait for."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.stream = "a"

    def current_stream(self, device: torch.device) -> Stream:
        return Stream(self.stream, self.log)

    def Event(self) -> Event:  # noqa: N802  # as torch calls it
        self.log.append("new event")
        return Event(self.log)


class Stream:
    """Compares as torch's streams do: beside None it is neither equal nor unequal."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.name == other.name

    def __ne__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.name != other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def wait_event(self, event: Event) -> None:
        self.log.append(f"{self.name} waits for {event.recorded_on}")


class Event:
    def __init__(self, log: list[str]) -> None:
        self._log = log
        self.recorded_on = ""

    def record(self, stream: Stream) -> None:
        self._log.append(f"record on {stream.name}")
        self.recorded_on = stream.name


class InOrder:
    """Where there is one stream."""

    def begin(self) -> None: ...

    def end(self) -> None: ...

    def settle(self) -> None: ...


class Recorder:
    """Records by keeping the function, and writes its result into the same buffers at each replay, as CUDA does."""

    def __init__(self) -> None:
        self.captured: list[tuple[int, ...]] = []
        self.pools: list[Any] = []
        """Which each capture was given."""

    def capture(self, run: Callable[[Tensor], Any], x: Tensor, pool: Any = None) -> Recording:
        self.captured.append(tuple(x.shape))
        self.pools.append(pool)
        inputs = x.clone()
        outputs = run(inputs)

        def replay() -> None:
            fresh = run(inputs)
            pairs = zip(outputs, fresh, strict=True) if isinstance(outputs, tuple) else [(outputs, fresh)]
            for buffer, result in pairs:
                buffer.copy_(result)

        return Recording(inputs, outputs, replay, pool or f"pool of {x.shape[0]}")

    def cache(self, capacity: int = 2) -> GraphCache:
        return GraphCache(InOrder(), capacity, self.capture)


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


def test_heads_are_copied_too() -> None:
    def heads(x: Tensor) -> dict[str, Any]:
        return {"a": x + 1, "b": (x, 2 * x)}

    captured = heads(torch.zeros(2))
    cache = GraphCache(InOrder(), 1, lambda run, x, pool: Recording(x.clone(), captured, lambda: None))
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
    def fail(run: Callable[[Tensor], Any], x: Tensor, pool: Any) -> Recording:
        raise RuntimeError("operation not permitted when stream is capturing")

    cache = GraphCache(InOrder(), 2, fail)
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


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        "CUDA error: operation failed due to a previous error during capture",
    ],
    ids=["allocator", "driver", "library", "leaving-a-capture"],
)
def test_memory_that_runs_out_is_said_and_not_remembered(error: RuntimeError | str) -> None:
    """It is not a graph that failed: without one there would be no more memory. The next time there may be."""
    recorder = Recorder()

    def fail_once(run: Callable[[Tensor], Any], x: Tensor, pool: Any) -> Recording:
        if recorder.captured:
            return recorder.capture(run, x, pool)
        recorder.captured.append(())
        if isinstance(error, RuntimeError):
            raise error
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        finally:
            raise RuntimeError(error)

    cache = GraphCache(InOrder(), 2, fail_once)
    with pytest.raises(torch.OutOfMemoryError):
        cache("twice", twice, torch.ones(3))
    assert len(cache) == 0
    assert torch.equal(cache("twice", twice, torch.ones(3)), torch.full((3,), 2.0))
    assert recorder.captured == [(), (3,)]


def test_recordings_may_compute_in_the_same_memory() -> None:
    """As in a shared pool: what one leaves there, the next writes over."""
    memory = torch.zeros(4)

    def capture(run: Callable[[Tensor], Any], x: Tensor, pool: Any) -> Recording:
        inputs, outputs = x.clone(), memory[: x.numel()]

        def replay() -> None:
            memory.fill_(-1)
            outputs.copy_(run(inputs))

        return Recording(inputs, outputs, replay, "pool")

    cache = GraphCache(InOrder(), 4, capture)
    given = [torch.full((length,), float(value)) for value in range(3) for length in (2, 4, 3)]
    results = [cache("twice", twice, x) for x in given]
    assert all(torch.equal(result, 2 * x) for result, x in zip(results, given, strict=True))


def test_recordings_share_a_pool_as_long_as_one_lives() -> None:
    recorder = Recorder()
    cache = recorder.cache(capacity=2)
    for length in (1, 2, 3):
        cache("twice", twice, torch.ones(length))
    cache.forget()
    cache("twice", twice, torch.ones(4))
    assert recorder.pools == [None, "pool of 1", "pool of 1", None]
    alone = Recorder()
    cache = alone.cache(capacity=1)
    for length in (1, 2):
        cache("twice", twice, torch.ones(length))
    assert alone.pools == [None, None]


def test_a_pool_in_which_a_capture_failed_takes_no_other() -> None:
    """The allocator would refuse: as it sees it, that capture never ended."""
    recorder = Recorder()

    def capture(run: Callable[[Tensor], Any], x: Tensor, pool: Any) -> Recording:
        if x.shape[0] == 2:
            raise RuntimeError("operation not permitted when stream is capturing")
        return recorder.capture(run, x, pool)

    cache = GraphCache(InOrder(), 4, capture)
    for length in (1, 2, 3, 4):
        cache("twice", twice, torch.ones(length))
    assert recorder.pools == [None, None, "pool of 3"]


def test_a_call_may_do_without() -> None:
    recorder = Recorder()
    cache = recorder.cache()
    assert torch.equal(cache("twice", twice, torch.ones(3), record=False), torch.full((3,), 2.0))
    assert (recorder.captured, len(cache)) == ([], 0)


def test_calls_from_different_streams_are_ordered() -> None:
    """With a graph or without: they free memory that calls on other streams may still read. Failed ones do too."""
    cuda = Cuda()
    cache = GraphCache(StreamOrder(torch.device("cpu"), cuda), 2, Recorder().capture)

    def broken(x: Tensor) -> Tensor:
        raise ValueError("not of a capture")

    for stream in "aab":
        cuda.stream = stream
        cache("twice", twice, torch.ones(3))
    with pytest.raises(ValueError, match="not of a capture"):
        cache("broken", broken, torch.ones(3))
    cuda.stream = "a"
    cache("twice", twice, torch.ones(3), record=False)
    assert cuda.log == [
        *("new event", "record on a"),
        "record on a",
        *("b waits for a", "record on b"),
        "record on b",
        *("a waits for b", "record on a"),
    ]


def test_streams_stand_for_those_of_torch() -> None:
    real, ours = torch.Stream(device="cpu"), Stream("a", [])
    assert [real == None, real != None] == [ours == None, ours != None] == [False, False]  # noqa: E711  # what is tested


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


def test_what_goes_is_waited_for() -> None:
    """A replay on another stream may still read what would be given back."""
    recorder, log = Recorder(), list[str]()

    class Noting(InOrder):
        def settle(self) -> None:
            log.append(f"settled with {len(cache)}")

    cache = GraphCache(Noting(), capacity=2, capture=recorder.capture)
    for size in (1, 2, 3):
        cache("twice", twice, torch.ones(size))
    assert log == ["settled with 2"]
    cache.forget()
    assert log == ["settled with 2", "settled with 2"]
    assert len(cache) == 0
