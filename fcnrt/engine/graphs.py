"""CUDA graphs, one per input shape: a replay costs the host one call where an eager pass costs one per layer."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from fcnrt.engine.keeping import keeping

logger = logging.getLogger(__name__)

Outputs: TypeAlias = "Tensor | tuple[Outputs, ...] | dict[str, Outputs]"

CAPACITY = 16
"""Graphs kept. Each holds the activations of its shape, so this bounds memory under changing image sizes."""

WARM_UP_RUNS = 3
"""Runs before the capture: libraries choose algorithms and allocate workspaces, Triton compiles."""


@dataclass(frozen=True)
class Recording:
    """A captured run: write ``inputs``, call ``replay``, read ``outputs``, all on one stream."""

    inputs: Tensor
    outputs: Outputs
    replay: Callable[[], None]
    kept: Sequence[object] = ()
    """what the run reads besides its inputs, and would otherwise be let go"""


def capture_cuda_graph(run: Callable[[Tensor], Outputs], x: Tensor) -> Recording:
    """Record ``run`` on a tensor like ``x`` as a CUDA graph.

    What it allocates meanwhile lies in the graph's own memory pool, where nobody else allocates while the graph lives.

    Raises:
        RuntimeError: ``run`` does something that a graph cannot hold, or memory ran out.
    """
    inputs = x.clone(memory_format=torch.preserve_format)
    side = torch.cuda.Stream(device=x.device)  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream(x.device))
    with torch.cuda.device(x.device), torch.cuda.stream(side):
        for _ in range(WARM_UP_RUNS):
            run(inputs)
    torch.cuda.current_stream(x.device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(x.device), torch.cuda.graph(graph):
        outputs = run(inputs)
    return Recording(inputs, outputs, graph.replay)


class GraphCache:
    """Runs functions through recordings, one per function and input shape; the least recently used goes first.

    Results are copied out: a buffer that the next call overwrites never reaches a caller. One lock serialises the
    calls, and an event orders them on the GPU when they come from different streams.

    Args:
        capacity: recordings kept.
        capture: makes a recording; exchangeable for tests without a GPU.
        make_event: makes an object with ``record()`` and ``wait()`` on the current stream.
    """

    def __init__(
        self,
        capacity: int = CAPACITY,
        capture: Callable[[Callable[[Tensor], Outputs], Tensor], Recording] = capture_cuda_graph,
        make_event: Callable[[], Any] = torch.cuda.Event,
    ) -> None:
        self._capacity = capacity
        self._capture = capture
        self._make_event = make_event
        self._recordings: OrderedDict[Hashable, Recording | None] = OrderedDict()
        self._lock = threading.Lock()
        self._last_use: Any = None

    def __call__(self, name: str, run: Callable[[Tensor], Any], x: Tensor, *, record: bool = True) -> Any:
        """``run(x)``, where ``name`` tells functions apart that share this cache; in turn with all other calls.

        Args:
            name: of the function.
            run: the function.
            x: its argument.
            record: through a recording. Otherwise ``run`` is called.
        """
        key = (name, x.shape, x.dtype, x.device)
        # A recording outlives the call that made it: its buffers must not be tied to that caller's inference mode.
        # Events belong to the current GPU, which need not be the model's.
        on_device = torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()
        with self._lock, on_device, torch.inference_mode(False), torch.no_grad():
            if self._last_use is not None:
                self._last_use.wait()
            recording = self._recording(key, run, x) if record else None
            if recording is None:
                outputs = run(x)
            else:
                recording.inputs.copy_(x)
                recording.replay()
                outputs = _clone(recording.outputs)
            self._last_use = self._make_event()
            self._last_use.record()
            return outputs

    def forget(self) -> None:
        """Let go of all recordings and their memory."""
        with self._lock:
            self._recordings.clear()

    def __len__(self) -> int:
        return len(self._recordings)

    def _recording(self, key: Hashable, run: Callable[[Tensor], Any], x: Tensor) -> Recording | None:
        if key in self._recordings:
            self._recordings.move_to_end(key)
        else:
            while len(self._recordings) >= self._capacity:
                self._recordings.popitem(last=False)
            self._recordings[key] = self._record(run, x)
        return self._recordings[key]

    def _record(self, run: Callable[[Tensor], Any], x: Tensor) -> Recording | None:
        try:
            with keeping() as kept:
                recording = self._capture(run, x)
            return dataclasses.replace(recording, kept=kept)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            logger.warning("no CUDA graph for input %s, running without: %s", list(x.shape), error)
            return None


def _clone(outputs: Outputs) -> Outputs:
    if isinstance(outputs, Tensor):
        return outputs.clone()
    if isinstance(outputs, dict):
        return {name: _clone(output) for name, output in outputs.items()}
    return tuple(_clone(output) for output in outputs)
