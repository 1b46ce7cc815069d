"""How messages speak of a file: its names escaped and shortened, since a file can hold any text."""

from __future__ import annotations

from collections.abc import Collection

COPY_AGAIN = "Copy or download it again"
"""What to do about a damaged file."""

_LONGEST = 80
_LONGEST_MESSAGE = 2000


def quote(text: object) -> str:
    """A name, number or error, quoted, short and printable; never a container, whose text may be endless."""
    shown = repr(str(text)[: _LONGEST + 1])
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 4]}...{shown[0]}"


def printable(message: str) -> str:
    """A message that may quote a file in ways of its own: short, and without anything that a terminal would obey."""
    shown = message if len(message) <= _LONGEST_MESSAGE else f"{message[:_LONGEST_MESSAGE]}..."
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in shown)


def plain_name(name: str) -> str:
    """A class's name as a legend or a terminal can show it: blanks instead of what cannot be printed."""
    return "".join(letter if letter.isprintable() else " " for letter in name)


def counted(count: int, noun: str) -> str:
    """``1 tensor``, ``2 tensors``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def few(names: Collection[object], limit: int = 4) -> str:
    """The first names of a collection, quoted, and how many more there are."""
    shown = [quote(name) for name, _ in zip(names, range(limit), strict=False)]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
