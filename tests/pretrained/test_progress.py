"""The bar: on a terminal alone, and honest about what was there before."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from fcnrt.pretrained import progress, progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_is_said_to_a_file() -> None:
    stream = io.StringIO()
    with progress_bar("net", stream) as bar:
        assert bar is None
    assert stream.getvalue() == ""


def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.05, 12.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    stream = Terminal()
    with progress_bar("net", stream) as bar:
        assert bar is not None
        bar(4_000_000, 10_000_000)
        bar(4_100_000, 10_000_000)  # too soon to draw again
        bar(10_000_000, 10_000_000)
    lines = stream.getvalue().replace("\x1b[K", "").split("\r")[1:]
    assert lines == [
        "net [=========               ]  40%  4.0/10.0 MB",
        "net [========================] 100%  10.0/10.0 MB  3.0 MB/s\n",
    ]


def test_size_unknown() -> None:
    stream = Terminal()
    with progress_bar("net", stream) as bar:
        assert bar is not None
        bar(4_000_000, None)
    assert "net 4.0 MB" in stream.getvalue()


def test_interrupt_leaves_the_cursor_on_a_line_of_its_own() -> None:
    stream = Terminal()
    with pytest.raises(KeyboardInterrupt), progress_bar("net", stream) as bar:
        assert bar is not None
        bar(1, 2)
        raise KeyboardInterrupt
    assert stream.getvalue().endswith("\n")
