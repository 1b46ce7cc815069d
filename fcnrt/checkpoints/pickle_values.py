"""What an inert pickle is made of, beside plain lists, dicts and numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


class MalformedError(ValueError):
    """The opcodes of a pickle do not fit together."""


@dataclass(frozen=True)
class Global:
    """The name of a class or function."""

    name: str


@dataclass(eq=False)
class Instance:
    """An object of a class that has no meaning here: the class's name, and the object's attributes."""

    cls: str
    attributes: dict[Any, Any] = field(default_factory=dict)


def pairs(flat: list[Any]) -> dict[Any, Any]:
    """``[key, value, key, value, ...]`` as a dictionary."""
    if len(flat) % 2:
        raise MalformedError("a dictionary key has no value")
    return {checked_key(key): value for key, value in zip(flat[::2], flat[1::2], strict=True)}


def checked_key(value: Any) -> Any:
    """A dictionary key whose hash nobody can choose to collide: text and small numbers."""
    if isinstance(value, int) and abs(value) < 2**31:
        return value
    if value is None or isinstance(value, (str, bytes, float)):
        return value
    raise MalformedError(f"a dictionary key is of type {type(value).__name__}")
