"""What a recorded run reads besides its inputs must live as long as the recording: who uses it says so here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_KEPT: ContextVar[list[object] | None] = ContextVar("kept", default=None)


@contextmanager
def keeping() -> Iterator[list[object]]:
    """Collects what is used until the block ends: as long as the list lives, so does all that is in it."""
    kept: list[object] = []
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
