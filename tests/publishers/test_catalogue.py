"""The table of layouts, ``docs/checkpoints.md`` and the tests of this folder say the same."""

from __future__ import annotations

from tests.publishers.catalogue import PAGE, PUBLISHERS, page, proofs, rows


def test_every_row_has_a_proof() -> None:
    """And no test proves what there is not. Each marked row is a case of its test, so it cannot go unproved."""
    keys = [row.key for row in rows()]
    assert len(set(keys)) == len(keys)
    proved = proofs()
    assert set(keys) - set(proved) == set(), "rows without a proof"
    assert set(proved) - set(keys) == set(), "proofs of no row"


def test_every_program_has_a_publisher() -> None:
    assert set(PUBLISHERS) == {row.layout.name for row in rows()}


def test_the_page_is_what_the_tables_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.publishers.catalogue"
