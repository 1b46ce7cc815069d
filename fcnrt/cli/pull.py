"""``fcnrt pull``: a published file into the cache, or the list of those there are."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from fcnrt.cli.exit_codes import DONE
from fcnrt.errors import InputError
from fcnrt.pretrained import REGISTRY, Pretrained, find, local_path, progress_bar, pull

HEADINGS = ("NAME", "MB", "SCORE", "TRAINED ON", "LICENCE", "CHECK", "HERE")


def add_parser(verbs: Any) -> None:
    """Add this verb to the subparsers ``verbs``."""
    parser = verbs.add_parser(
        "pull",
        help="fetch a published checkpoint",
        description="Fetch a published checkpoint into the cache, check its hash, and print its path. What broke off "
        "is taken up again. The cache is $FCNRT_CACHE_DIR, else $XDG_CACHE_HOME/fcnrt, else ~/.cache/fcnrt.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="one of those that --list prints")
    parser.add_argument("--list", action="store_true", help="print what there is, instead")
    parser.add_argument("--cache-dir", type=Path, metavar="DIR", help="where to keep it")
    parser.add_argument(
        "--unverified", action="store_true", help="take the file even where nobody published a hash of it"
    )
    parser.add_argument("--json", action="store_true", help="print a line of JSON per file")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Fetch the file that the command line names, or list all."""
    if (arguments.name is None) != arguments.list:
        raise InputError("expected either the name of a published file or --list")
    if arguments.list:
        print_list(arguments.cache_dir, as_json=arguments.json)
        return DONE
    entry = find(arguments.name)
    with progress_bar(entry.name) as progress:
        path = pull(entry, cache_dir=arguments.cache_dir, progress=progress, unverified=arguments.unverified)
    if arguments.json:
        print(json.dumps(as_dict(entry, path)))
    else:
        print(path)
        if entry.digest is None:
            print("fcnrt: note: nobody published a hash of this file; it is what the host sent", file=sys.stderr)
        print(f"fcnrt: note: licence: {entry.licence}", file=sys.stderr)
    return DONE


def print_list(cache_dir: Path | None, *, as_json: bool) -> None:
    """A line per file: for programs, or in columns for people."""
    entries = [(entry, local_path(entry, cache_dir=cache_dir)) for entry in REGISTRY.values()]
    if as_json:
        for entry, path in entries:
            print(json.dumps(as_dict(entry, path)))
        return
    rows = [HEADINGS, *(as_row(entry, path) for entry, path in entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def as_dict(entry: Pretrained, path: Path | None) -> dict[str, Any]:
    """Everything that is known of a file, and where it lies if the cache has it."""
    return {
        "name": entry.name,
        "path": None if path is None else str(path),
        "url": entry.url,
        "file_name": entry.file_name,
        "bytes": entry.size,
        "digest": None if entry.digest is None else {entry.digest.algorithm: entry.digest.value},
        "kind": entry.kind,
        "arch": entry.arch,
        "num_classes": entry.num_classes,
        "classes": list(entry.classes),
        "trained_on": entry.trained_on,
        "normalization": None if entry.normalization is None else json.loads(entry.normalization.to_json()),
        "score": None if entry.score is None else vars(entry.score),
        "licence": entry.licence,
        "by_hand": entry.by_hand,
        "note": entry.note,
        "sources": dict(entry.sources),
    }


def as_row(entry: Pretrained, path: Path | None) -> tuple[str, ...]:
    """The same in the columns of ``HEADINGS``."""
    known = entry.max_bytes < 1.01 * entry.min_bytes
    digest = entry.digest
    check = "none: --unverified" if digest is None else f"{digest.algorithm}{'' if digest.is_whole else ' prefix'}"
    return (
        entry.name,
        f"{entry.max_bytes / 1e6:.1f}" if known else "?",
        "?" if entry.score is None else f"{entry.score.metric} {entry.score.value:.2f}",
        entry.trained_on,
        entry.licence,
        check,
        "yes" if path is not None else "by hand" if entry.by_hand else "no",
    )
