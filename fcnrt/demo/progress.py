"""A progress bar for a terminal, and plain lines now and then for a log."""

from __future__ import annotations

import sys
import time
from typing import TextIO

BAR = 28
LINES_PER_STAGE = 20


class Progress:
    """Counts ``total`` steps of something called ``name`` on ``stream`` (stderr)."""

    def __init__(self, name: str, total: int, stream: TextIO | None = None) -> None:
        self.name = name
        self.total = total
        self.stream = sys.stderr if stream is None else stream
        self.terminal = self.stream.isatty()
        self.started = time.monotonic()
        self.shown = 0.0

    def update(self, done: int, note: str = "") -> None:
        """``done`` steps of ``total`` are over; the last one ends the line."""
        now = time.monotonic()
        last = done >= self.total
        left = (now - self.started) / max(done, 1) * (self.total - done)
        text = f"{self.name} {done}/{self.total} {note}"
        if not self.terminal:
            if last or done % max(1, self.total // LINES_PER_STAGE) == 0:
                self.stream.write(f"{text} ({left:.0f} s left)\n")
                self.stream.flush()
            return
        if last or now - self.shown > 0.1:
            self.shown = now
            filled = BAR * done // max(self.total, 1)
            bar = "█" * filled + "░" * (BAR - filled)
            self.stream.write(f"\r\x1b[K{bar} {text} ({left:.0f} s left)" + ("\n" if last else ""))
            self.stream.flush()
