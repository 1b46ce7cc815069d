"""What a recorded run reads besides its inputs must live as long as the recording: who uses it says so here."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")


class Kept(list[object]):
    """What a recording reads."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[Hashable, object] = {}


_KEPT: ContextVar[Kept | None] = ContextVar("kept", default=None)


@contextmanager
def keeping() -> Iterator[Kept]:
    """Collects what is used until the block ends: as long as the collection lives, so does all that is in it."""
    kept = Kept()
    token = _KEPT.set(kept)
    try:
        yield kept
    finally:
        _KEPT.reset(token)


def keep(used: object) -> None:
    """``used`` is read by what runs now, and its owner may let go of it; nothing to do where nobody records."""
    kept = _KEPT.get()
    if kept is not None and all(used is not other for other in kept):
        kept.append(used)


def once(key: Hashable, make: Callable[[], T]) -> T | None:
    """``make()``, in the first of the runs that a recording is made of, and the same object in the others.

    It is made before anything is recorded, and lives as long as the recording. None where nobody records.
    """
    kept = _KEPT.get()
    if kept is None:
        return None
    if key not in kept.made:
        kept.made[key] = make()
    return kept.made[key]  # type: ignore[return-value]  # what make gave under this key
