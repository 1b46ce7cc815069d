"""What is tried when memory runs out: half the batch, then no recorded graphs; then the error says what was needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor


class Attempt(Protocol):
    """Runs a batch, from a recorded graph or without."""

    def __call__(self, x: Tensor, *, record: bool) -> Any: ...


def run_within_memory(x: Tensor, attempt: Attempt, give_back: Callable[[], None]) -> Any:
    """What ``attempt`` makes of ``x``, ``[N,C,H,W]``: whole, or joined from parts that memory suffices for.

    Args:
        x: the images.
        attempt: runs them; its results have the batch first.
        give_back: lets go of all memory that is kept for other calls.

    Raises:
        torch.OutOfMemoryError: it does not suffice for one image without a graph.
    """
    # Each attempt ends before the next begins: an error that is being handled keeps the memory of its frames.
    try:
        return attempt(x, record=True)
    except torch.OutOfMemoryError:
        pass
    give_back()
    if x.shape[0] == 1:
        return attempt(x, record=False)
    return _join([run_within_memory(part, attempt, give_back) for part in x.tensor_split(2)])


def _join(parts: list[Any]) -> Any:
    """The results of parts of a batch, as those of the whole."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(parts)
    if isinstance(first, dict):
        return {name: _join([part[name] for part in parts]) for name in first}
    return tuple(_join([part[index] for part in parts]) for index in range(len(first)))
