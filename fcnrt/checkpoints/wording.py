"""How messages speak of a file: its names escaped and shortened, since a file can hold any text."""

from __future__ import annotations

from collections.abc import Collection

COPY_AGAIN = "Copy or download it again"
"""What to do about a damaged file."""

_LONGEST = 80


def quote(text: object) -> str:
    """A name, number or error, quoted, short and printable; never a container, whose text may be endless."""
    shown = repr(str(text)[: _LONGEST + 1])
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 4]}...{shown[0]}"


def counted(count: int, noun: str) -> str:
    """``1 tensor``, ``2 tensors``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def few(names: Collection[object], limit: int = 4) -> str:
    """The first names of a collection, quoted, and how many more there are."""
    shown = [quote(name) for name, _ in zip(names, range(limit), strict=False)]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
