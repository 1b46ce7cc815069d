"""Shows results as tables: each group's contenders as ratios to its eager reference, with their agreement.

    python -m benchmarks.table FILE.json ...             # pytest-benchmark's --benchmark-json, or a result file
    python -m benchmarks.table FILE.json --markdown      # for a README
    python -m benchmarks.table FILE.json --save          # writes benchmarks/results/<machine>/<suite>.json

A CPU's times say more about the machine than about the code, so they are shown as ratios alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.results import RESULTS, result_files, write_result


@dataclass(frozen=True)
class Row:
    """One contender of a group."""

    contender: str
    ratio: float | None
    """how many times as fast as the reference; None where the group has none"""
    seconds: float
    spread: float
    """interquartile range by median"""
    device_ratio: float | None
    device_seconds: float | None
    """without the host, where it was measured"""
    relative_error: float | None
    label_agreement: float
    memory: float | None = None
    """peak of activations by the reference's, where both were measured"""


@dataclass(frozen=True)
class Group:
    title: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Report:
    """The results of one run on one machine."""

    groups: tuple[Group, ...]
    machine: str
    on_gpu: bool


def parse(content: dict[str, Any]) -> Report:
    """Read pytest-benchmark's JSON or a result file.

    Raises:
        ValueError: it is neither.
    """
    try:
        results = [content] if "schema_version" in content else result_files(content)
        # Suites may have groups of the same title, each with a reference of its own.
        groups = tuple(
            _group(title, [row for row in result["benchmarks"] if row["group"] == title])
            for result in results
            for title in dict.fromkeys(row["group"] for row in result["benchmarks"])
        )
        environment = content.get("environment") or content["machine_info"]
        commit = content.get("commit") or content.get("commit_info")
        machine = _machine(environment, commit, content.get("command"))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no benchmark results: {error!r}; expected pytest-benchmark's JSON of benchmarks/") from error
    return Report(groups, machine, environment["gpu"] is not None)


def render(report: Report, *, markdown: bool = False) -> str:
    """The report as text: aligned columns, or one Markdown table."""
    heads, *lines = _cells(report)
    if markdown:
        table = [heads, ["---", "---", *["---:"] * (len(heads) - 2)], *lines]
        return "\n".join(["| " + " | ".join(cells) + " |" for cells in table] + ["", report.machine])
    widths = [max(map(len, column)) for column in zip(heads[1:], *(line[1:] for line in lines), strict=True)]
    text = []
    for line in lines:
        if line[0]:
            text += ["", line[0], _aligned(heads[1:], widths)]
        text.append(_aligned(line[1:], widths))
    return "\n".join([*text, "", report.machine])


def _group(title: str, rows: list[dict[str, Any]]) -> Group:
    reference = next((row for row in rows if row["extra_info"]["reference"]), None)
    host = reference["median_seconds"] if reference else None
    device = reference["extra_info"].get("device_seconds") if reference else None
    memory = reference["extra_info"].get("peak_bytes") if reference else None
    return Group(title, tuple(_row(row, host, device, memory) for row in rows))


def _row(row: dict[str, Any], host: float | None, device: float | None, memory: int | None) -> Row:
    extra = row["extra_info"]
    median, alone, taken = row["median_seconds"], extra.get("device_seconds"), extra.get("peak_bytes")
    return Row(
        contender=row["contender"],
        ratio=host / median if host else None,
        seconds=median,
        spread=row["iqr_seconds"] / median,
        device_ratio=device / alone if device and alone else None,
        device_seconds=alone,
        relative_error=extra["relative_error"],
        label_agreement=extra["label_agreement"],
        memory=taken / memory if memory and taken else None,
    )


def _cells(report: Report) -> list[list[str]]:
    """A line of heads, then a line per contender; the first of a group has its title."""
    timed_alone = any(row.device_seconds for group in report.groups for row in group.rows)
    with_memory = any(row.memory for group in report.groups for row in group.rows)
    heads = ["workload", "contender"]
    heads += ["ms"] if report.on_gpu else []
    heads += ["against eager"]
    heads += ["ms, GPU alone", "against eager, GPU alone"] if timed_alone else []
    heads += ["peak memory"] if with_memory else []
    heads += ["spread", "relative error", "labels equal"]
    lines = [heads]
    for group in report.groups:
        for index, row in enumerate(group.rows):
            line = ["" if index else group.title, row.contender]
            line += [_milliseconds(row.seconds)] if report.on_gpu else []
            line += [_ratio(row.ratio)]
            line += [_milliseconds(row.device_seconds), _ratio(row.device_ratio)] if timed_alone else []
            if with_memory:
                line.append("-" if row.memory is None else f"{row.memory:.0%}")
            error = "-" if row.relative_error is None else f"{row.relative_error:.1e}"
            lines.append([*line, f"{row.spread:.0%}", error, _share(row.label_agreement)])
    return lines


def _machine(environment: dict[str, Any], commit: dict[str, Any] | None, command: str | None) -> str:
    cpu, gpu, software = environment["cpu"], environment["gpu"], environment["software"]
    cores = f"{cpu['model']}, {cpu['cores']} cores ({cpu['capability']}), {environment['threads']} threads"
    facts = [
        *([f"{gpu['name']} ({gpu['capability']}, driver {gpu.get('driver_version', 'unknown')})"] if gpu else []),
        cores,
        ", ".join(f"{name} {software[name]}" for name in ("torch", "triton", "python") if software.get(name)),
    ]
    if commit and commit.get("id"):
        facts.append(f"commit {commit['id'][:12]}{' with changes' if commit.get('dirty') else ''}")
    return "; ".join(facts) + (f". Command: `{command}`" if command else "")


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.ljust(width) if not index else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  " + "  ".join([first, *others])


def _ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}x"


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.3g}" if seconds < 1 else f"{seconds * 1e3:.0f}"


def _share(share: float) -> str:
    """Rounded down, so that 100 % means every pixel."""
    return "100 %" if share == 1 else f"{int(share * 1e5) / 1e3:.3f} %"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 2 where a file cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json")
    parser.add_argument("--markdown", action="store_true", help="one Markdown table per file")
    parser.add_argument(
        "--save",
        nargs="?",
        const=RESULTS,
        type=Path,
        metavar="DIR",
        help="also write DIR/<machine>/<suite>.json (default: benchmarks/results)",
    )
    options = parser.parse_args(arguments)
    for path in options.files:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            report = parse(content)
        except (OSError, ValueError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            return 2
        print(render(report, markdown=options.markdown))
        if options.save is not None and "schema_version" not in content:
            for result in result_files(content):
                print(f"wrote {write_result(options.save, result)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
