"""What goes together, in which order, and how far it is read ahead."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fcnrt.batches import in_batches


def batches(words: str, most: int = 4, held: int = 8) -> list[str]:
    """Of words, whose length is their size."""
    return ["+".join(batch) for batch in in_batches(words.split(), len, lambda word: most, held)]


def test_what_has_one_size_goes_together_and_nothing_is_lost() -> None:
    assert batches("a bb c dd e f gg hh") == ["a+c+e+f", "bb+dd+gg+hh"]
    assert batches("a bb c dd e") == ["a+c", "e", "bb+dd"]  # powers of two
    assert batches("a b c d e f", most=3) == ["a+b", "c+d", "e+f"]
    assert batches("a bb c", most=1) == ["a", "bb", "c"]
    assert batches("") == []


def test_few_wait() -> None:
    """Many sizes: the oldest is not kept waiting for its like for ever."""
    assert batches("a bb ccc dddd e", held=3) == ["a", "bb", "ccc", "dddd", "e"]


def test_items_are_taken_as_late_as_can_be() -> None:
    taken: list[str] = []

    def words() -> Iterator[str]:
        for word in ("a", "bb", "c", "dd", "e"):
            taken.append(word)
            yield word

    upcoming = in_batches(words(), len, lambda word: 2, held=8)
    assert (next(upcoming), taken) == (["a", "c"], ["a", "bb", "c"])
    assert (next(upcoming), taken) == (["bb", "dd"], ["a", "bb", "c", "dd"])


def test_an_error_comes_after_what_came_before_it() -> None:
    def words() -> Iterator[str]:
        yield from ("a", "bb", "c")
        raise OSError("the fourth cannot be read")

    upcoming = in_batches(words(), len, lambda word: 4)
    assert [next(upcoming), next(upcoming)] == [["a", "c"], ["bb"]]
    with pytest.raises(OSError, match="the fourth"):
        next(upcoming)
