"""CUDA graphs, one per input shape: a replay costs the host one call where an eager pass costs one per layer."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from fcnrt.engine.keeping import keeping

logger = logging.getLogger(__name__)

Outputs: TypeAlias = "Tensor | tuple[Outputs, ...] | dict[str, Outputs]"

CAPACITY = 16
"""Graphs kept. Each holds inputs, outputs and what it made ``once``: this bounds memory under changing image sizes."""

WARM_UP_RUNS = 3
"""Runs before the capture: libraries choose algorithms and allocate workspaces, Triton compiles."""


ERROR_MODE = "thread_local"
"""Other threads may upload and allocate while one captures: they do so on streams of their own."""

_CAPTURING = threading.Lock()
"""torch allows one capture at a time in a process, and models have caches of their own."""


@functools.cache
def _capture_stream(device: torch.device) -> Any:
    """What a GPU's captures are recorded on: torch's own belongs to the GPU of the first capture in the process.

    One for all of them, since memory of a pool goes to captures on the stream that it was taken on.
    """
    return torch.cuda.Stream(device=device)  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Recording:
    """A captured run: write ``inputs``, call ``replay``, read ``outputs``, all on one stream."""

    inputs: Tensor
    outputs: Outputs
    replay: Callable[[], None]
    pool: Any = None
    """memory that the run computes in, and that other recordings may share"""
    kept: Sequence[object] = ()
    """what the run reads besides its inputs, and would otherwise be let go"""


Capture: TypeAlias = "Callable[[Callable[[Tensor], Outputs], Tensor, Any], Recording]"
"""Records a function on a tensor like the one given, in the memory of another recording or, given None, in new."""


def capture_cuda_graph(run: Callable[[Tensor], Outputs], x: Tensor, pool: Any = None) -> Recording:
    """Record ``run`` on a tensor like ``x`` as a CUDA graph.

    What it allocates meanwhile lies in ``pool``, where nobody but graphs allocates while one of its graphs lives.

    Raises:
        RuntimeError: ``run`` does something that a graph cannot hold, or memory ran out.
    """
    inputs = x.clone(memory_format=torch.preserve_format)
    side, current = _capture_stream(x.device), torch.cuda.current_stream(x.device)
    with _CAPTURING, torch.cuda.device(x.device):
        side.wait_stream(current)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP_RUNS):
                run(inputs)
        current.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=side, capture_error_mode=ERROR_MODE):
            outputs = run(inputs)
    return Recording(inputs, outputs, graph.replay, graph.pool())


class Order(Protocol):
    """Puts calls one after another where they run. One call at a time is between ``begin`` and ``end``."""

    def begin(self) -> None:
        """What is launched from here on comes after what was launched before the last ``end``."""

    def end(self) -> None:
        """The call has launched all that it will."""

    def settle(self) -> None:
        """Wait until all that was launched has run: what it reads may then be given back."""


class StreamOrder:
    """Orders calls that come from different streams of a GPU. From one stream they are in order as they are.

    Args:
        device: the GPU.
        cuda: ``torch.cuda``; exchangeable for tests without a GPU.
    """

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        self._device, self._cuda = device, cuda
        self._stream: Any = None
        self._event: Any = None

    def begin(self) -> None:
        stream = self._cuda.current_stream(self._device)
        # A stream of torch is neither equal nor unequal to None.
        if self._stream is None or stream != self._stream:
            if self._event is not None:
                stream.wait_event(self._event)
            self._stream = stream

    def end(self) -> None:
        # One event for all calls: who waits for it has done so before it is recorded anew.
        if self._event is None:
            self._event = self._cuda.Event()
        self._event.record(self._stream)

    def settle(self) -> None:
        if self._event is not None:
            self._event.synchronize()


class GraphCache:
    """Runs functions through recordings, one per function and input shape; the least recently used goes first.

    Results are copied out: a buffer that the next call overwrites never reaches a caller. One lock serialises the
    calls, and ``order`` does so on the GPU when they come from different streams.

    What recordings allocate lies in one pool: together they need what the largest of them needs there, and the outputs
    of each. That is safe because no two of them run at the same time, because each call copies its results out before
    the next replays, and because a replay reads nothing in the pool that an earlier one left: inputs, weights,
    constants and what a run made ``once`` lie outside of it, and all else is written before it is read.

    Args:
        order: of the device that the recordings run on.
        capacity: recordings kept.
        capture: makes a recording; exchangeable for tests without a GPU.
    """

    def __init__(self, order: Order, capacity: int = CAPACITY, capture: Capture = capture_cuda_graph) -> None:
        self._order = order
        self._capacity = capacity
        self._capture = capture
        self._recordings: OrderedDict[Hashable, Recording | None] = OrderedDict()
        self._lock = threading.Lock()
        self._pool: Any = None

    def __call__(self, name: str, run: Callable[[Tensor], Any], x: Tensor, *, record: bool = True) -> Any:
        """``run(x)``, where ``name`` tells functions apart that share this cache; in turn with all other calls.

        Args:
            name: of the function.
            run: the function.
            x: its argument.
            record: through a recording. Otherwise ``run`` is called.

        Raises:
            torch.OutOfMemoryError: memory ran out. The next call tries again.
        """
        # The GPU waits for what comes before the replay: what it can do without, stands elsewhere.
        key = (name, x.shape, x.dtype)
        with self._lock:
            self._order.begin()
            try:
                recording = self._recordings.get(key) if record else None
                if recording is None:
                    with _lasting(x.device):
                        if record and key not in self._recordings:
                            recording = self._record(key, run, x)
                        if recording is None:
                            return run(x)
                recording.inputs.copy_(x.detach() if x.requires_grad else x)
                recording.replay()
                self._recordings.move_to_end(key)
                return _clone(recording.outputs)
            finally:
                self._order.end()

    def forget(self) -> None:
        """Let go of all recordings and their memory."""
        with self._lock:
            self._order.settle()
            self._recordings.clear()

    def __len__(self) -> int:
        return len(self._recordings)

    def _record(self, key: Hashable, run: Callable[[Tensor], Any], x: Tensor) -> Recording | None:
        """A new recording, or None, which is remembered, where there can be none."""
        if len(self._recordings) >= self._capacity:
            # Its memory goes back to the stream that it was taken on, and another may still be reading it.
            self._order.settle()
        while len(self._recordings) >= self._capacity:
            self._recordings.popitem(last=False)
        if not any(recording is not None and recording.pool == self._pool for recording in self._recordings.values()):
            self._pool = None  # it went with the last recording in it
        # A pool in which a capture failed takes no other.
        pool, self._pool = self._pool, None
        recording = None
        try:
            with keeping() as kept:
                recording = dataclasses.replace(self._capture(run, x, pool), kept=kept)
            self._pool = recording.pool
        except RuntimeError as error:
            if _lacks_memory(error):
                raise torch.OutOfMemoryError(str(error)) from error
            logger.warning("no CUDA graph for input %s, running without: %s", list(x.shape), error)
        self._recordings[key] = recording
        return recording


@contextlib.contextmanager
def _lasting(device: torch.device) -> Iterator[None]:
    """A recording outlives the call that made it: nothing in it is tied to that caller's modes or current GPU."""
    on_device = torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
    plain = torch.autocast(device.type, enabled=False)
    with on_device, plain, torch.inference_mode(False), torch.no_grad():
        yield


def _lacks_memory(error: BaseException | None) -> bool:
    """Whether memory ran out: the driver and libraries say so in words, and a capture that is left fails once more."""
    while error is not None:
        words = str(error)
        if isinstance(error, torch.OutOfMemoryError) or "out of memory" in words or "ALLOC" in words:
            return True
        error = error.__cause__ or error.__context__
    return False


def _clone(outputs: Outputs) -> Outputs:
    if isinstance(outputs, Tensor):
        return outputs.clone()
    if isinstance(outputs, dict):
        return {name: _clone(output) for name, output in outputs.items()}
    return tuple(_clone(output) for output in outputs)
