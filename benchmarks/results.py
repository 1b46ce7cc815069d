"""Result files: what a run of the benchmarks leaves behind, without the raw data and without private names.

A file is ``<machine>/<suite>.json`` and holds the environment, the command, the commit, and of each benchmark its
group, its contender, the median and spread of its time, and its agreement with the reference.
"""

from __future__ import annotations

import json
import os
import shlex
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"

SCHEMA_VERSION = 1


def result_files(measured: dict[str, Any]) -> list[dict[str, Any]]:
    """One result per suite.

    Args:
        measured: pytest-benchmark's JSON.

    Raises:
        ValueError: these are no results of ``benchmarks/``.
    """
    suites: dict[str, list[dict[str, Any]]] = {}
    for benchmark in measured["benchmarks"]:
        row = _row(benchmark)
        suites.setdefault(row["extra_info"].pop("suite"), []).append(row)
    return [
        {
            "schema_version": SCHEMA_VERSION,
            "suite": suite,
            "command": measured.get("command"),
            "commit": measured.get("commit_info"),
            "environment": measured["machine_info"],
            "benchmarks": rows,
        }
        for suite, rows in suites.items()
    ]


def write_result(folder: Path, result: dict[str, Any]) -> Path:
    """Write ``folder/<machine>/<suite>.json``, whole or not at all, and return its path."""
    path: Path = folder / result["environment"]["machine"] / f"{result['suite']}.json"
    write_json(path, result)
    return path


def write_json(path: Path, content: Any) -> None:
    """Write ``path`` under a temporary name first, so that nobody ever reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.write("\n")
        os.chmod(temporary, 0o644)  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def command_line(arguments: Iterable[str], root: Path) -> str:
    """The command that was typed, with paths as they are within ``root``; of others only the name is kept."""
    return shlex.join(["pytest", *(_without_folders(str(argument), root) for argument in arguments)])


def _row(benchmark: dict[str, Any]) -> dict[str, Any]:
    stats, extra_info = benchmark["stats"], dict(benchmark["extra_info"])
    if not {"suite", "contender"} <= extra_info.keys():
        raise ValueError(f"{benchmark['name']} names no suite and no contender; expected results of benchmarks/")
    return {
        "group": benchmark["group"],
        "contender": extra_info.pop("contender"),
        "median_seconds": stats["median"],
        "iqr_seconds": stats["iqr"],
        "min_seconds": stats["min"],
        "rounds": stats["rounds"],
        "extra_info": extra_info,
    }


def _without_folders(argument: str, root: Path) -> str:
    option, equals, value = argument.rpartition("=")
    path = PurePath(value)
    if not path.is_absolute():
        return argument
    inside = path.is_relative_to(root)
    return f"{option}{equals}{path.relative_to(root) if inside else path.name}"
