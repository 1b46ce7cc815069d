"""A line on the terminal that says how far a download is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from fcnrt.pretrained.download import Progress

_PAUSE = 0.1
_WIDTH = 24


@contextmanager
def progress_bar(name: str, stream: TextIO | None = None) -> Iterator[Progress | None]:
    """What to pass as ``progress``: a bar on ``stream`` (standard error), or None where that is no terminal."""
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        yield None
        return
    bar = _Bar(name, stream)
    try:
        yield bar
    finally:
        bar.close()


class _Bar:
    """Redraws its line at most ten times a second, and at the end."""

    def __init__(self, name: str, stream: TextIO) -> None:
        self._name = name
        self._stream = stream
        self._began: tuple[float, int] | None = None
        self._drawn = 0.0

    def __call__(self, received: int, total: int | None) -> None:
        now = time.monotonic()
        if self._began is None:
            self._began = (now, received)  # a resumed download must not count what was there
        if now - self._drawn < _PAUSE and received != total:
            return
        self._drawn = now
        seconds, bytes_here = now - self._began[0], received - self._began[1]
        rate = f"  {bytes_here / seconds / 1e6:.1f} MB/s" if seconds > 0 else ""
        if total:
            filled = "=" * (_WIDTH * received // total)
            shown = f"[{filled:<{_WIDTH}}] {received / total:4.0%}  {received / 1e6:.1f}/{total / 1e6:.1f} MB"
        else:
            shown = f"{received / 1e6:.1f} MB"
        self._stream.write(f"\r{self._name} {shown}{rate}\x1b[K")
        self._stream.flush()

    def close(self) -> None:
        if self._began is not None:
            self._stream.write("\n")
            self._stream.flush()
