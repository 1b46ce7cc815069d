"""Images of one size go through a network together; those of different sizes are never padded to one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

MOST_HELD = 32
"""Items that wait for others of their size."""


def in_batches(
    items: Iterable[T], size_of: Callable[[T], Hashable], most: Callable[[T], int], held: int = MOST_HELD
) -> Iterator[list[T]]:
    """Items of one size together, in the order in which the batches fill up.

    A batch holds a power of two of items: each count is recorded and compiled anew, so there should be few. Items are
    taken from ``items`` one by one, and at most ``held`` of them wait. An error on the way there is raised after what
    came before it has been handed out.

    Args:
        items: taken lazily.
        size_of: what the items of a batch have in common.
        most: items like this one that may go together; at least 1.
        held: items that wait at the same time.
    """
    waiting: dict[Hashable, list[T]] = {}
    failure: Exception | None = None
    upcoming = iter(items)
    while True:
        try:
            item = next(upcoming)
        except StopIteration:
            break
        except Exception as error:
            failure = error
            break
        size = size_of(item)
        batch = waiting.setdefault(size, [])
        batch.append(item)
        if len(batch) >= _power(most(item)):
            yield from _powers(waiting.pop(size), most(item))
        elif sum(map(len, waiting.values())) >= held:
            oldest = waiting.pop(next(iter(waiting)))
            yield from _powers(oldest, most(oldest[-1]))
    for batch in waiting.values():
        yield from _powers(batch, most(batch[-1]))
    if failure is not None:
        raise failure


def _powers(batch: list[T], most: int) -> Iterator[list[T]]:
    """Parts of ``batch``, the largest first, whose lengths are powers of two and at most ``most``."""
    while batch:
        count = _power(min(len(batch), most))
        yield batch[:count]
        batch = batch[count:]


def _power(count: int) -> int:
    """The largest power of two that is not larger."""
    return 1 << (count.bit_length() - 1)
