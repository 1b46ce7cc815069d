"""Measured configurations: one small JSON file a GPU, written by ``fcnrt_kernels.tune``, read when a layer is planned.

    {"schema_version": 1, "gpu": "NVIDIA H200", "environment": {...},
     "measured": [{"problem": {...}, "config": {...}, "seconds": 1e-5, "cudnn_seconds": 2e-5}, ...]}

``config`` is null where no tile ran, and a time is null where it was not taken. A file is looked for in the user's
cache and in ``configs/`` beside this module; the user's own measurements go first. A tile that is fast in one 16-bit
type is fast in the other, and on another GPU with the same multiprocessors, so what was measured for those comes before
an estimate.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcnrt_kernels.conv_config import select_conv_config, why_invalid
from fcnrt_kernels.conv_problem import ConvConfig, ConvProblem, Target

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
SHIPPED = Path(__file__).resolve().parent / "configs"
LARGEST_FILE = 4 << 20
"""Bytes; a table of a hundred nets stays below it."""


SAME_MULTIPROCESSORS: Mapping[str, str] = {
    "NVIDIA H200": "NVIDIA H100 80GB HBM3",
    "NVIDIA H100 80GB HBM3": "NVIDIA H200",
}
"""GPUs that differ in their memory alone."""

_OTHER_TYPE: Mapping[str, str] = {"bfloat16": "float16", "float16": "bfloat16"}


@dataclass(frozen=True)
class Measured:
    """What the tuner found for one problem: the fastest tile, its time, and cuDNN's."""

    config: ConvConfig | None
    seconds: float | None
    cudnn_seconds: float | None


@dataclass(frozen=True)
class Choice:
    """How to run a convolution, and why."""

    config: ConvConfig
    reason: str
    cudnn_faster: bool = False
    """cuDNN was measured to be faster, with its own passes for bias, ReLU and pool"""


Table = Mapping[ConvProblem, Measured]


@functools.lru_cache(maxsize=4096)
def choose(problem: ConvProblem, target: Target) -> Choice:
    """What was measured on this GPU, or what is estimated where nothing was.

    Raises:
        ValueError: no tile is valid, or the table of this GPU is broken.
    """
    relative = SAME_MULTIPROCESSORS.get(target.name)
    for gpu in (target.name,) if relative is None else (target.name, relative):
        table = _table_of(gpu)
        for dtype in (problem.dtype, _OTHER_TYPE.get(problem.dtype)):
            alike = problem if dtype is None else dataclasses.replace(problem, dtype=dtype)
            if alike in table:
                choice = choose_from(table, alike, target)
                if (gpu, dtype) == (target.name, problem.dtype):
                    return choice
                return dataclasses.replace(choice, reason=f"{choice.reason}, in {dtype} on an {gpu}")
    return Choice(*select_conv_config(problem, target))


def choose_from(table: Table, problem: ConvProblem, target: Target) -> Choice:
    """The same with a given table alone."""
    measured = table.get(problem)
    if measured is None:
        return Choice(*select_conv_config(problem, target))
    config, reason = measured.config, ""
    if config is None or (invalid := why_invalid(config, problem, target)):
        config, reason = select_conv_config(problem, target)
        reason = f"{reason} (measured: {'no tile ran' if measured.config is None else invalid})"
    ours, theirs = measured.seconds, measured.cudnn_seconds
    if config == measured.config and ours is not None:
        reason = f"measured: {ours * 1e6:.1f} us"
        reason += f", cuDNN {theirs * 1e6:.1f} us" if theirs is not None else ""
        return Choice(config, reason, theirs is not None and theirs < ours)
    return Choice(config, reason, theirs is not None)


def read_table(path: Path) -> dict[ConvProblem, Measured]:
    """Read a table.

    Raises:
        ValueError: the file is no table, or one of another version.
    """
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"{path} has {path.stat().st_size} bytes; expected a table of at most {LARGEST_FILE}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["schema_version"]
        if version != SCHEMA_VERSION:
            raise ValueError(f"version {version}, expected {SCHEMA_VERSION}")
        return dict(map(_entry, content["measured"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path} is no table of measurements ({error}); delete it, and measure again with python -m "
            f"fcnrt_kernels.tune"
        ) from error


def write_table(path: Path, gpu: str, environment: Mapping[str, Any], table: Table) -> None:
    """Write a table under a temporary name first, so that nobody ever reads half of it."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "gpu": gpu,
        "environment": environment,
        "measured": [
            {"problem": dataclasses.asdict(problem), **dataclasses.asdict(measured)}
            for problem, measured in table.items()
        ],
    }
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
    forget()


def forget() -> None:
    """Look for tables again the next time: they are read once."""
    choose.cache_clear()
    _table_of.cache_clear()


def user_folder() -> Path:
    """Where a user's own tables lie: ``configs`` in fcnrt's cache."""
    base = os.environ.get("XDG_CACHE_HOME")
    cache = os.environ.get("FCNRT_CACHE_DIR") or Path(base if base else "~/.cache") / "fcnrt"
    return Path(cache).expanduser() / "configs"


def file_name(gpu: str) -> str:
    """``nvidia-h200.json`` for ``NVIDIA H200``."""
    return re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-") + ".json"


@functools.cache
def _table_of(gpu: str) -> Table:
    found: dict[ConvProblem, Measured] = {}
    for folder in (SHIPPED, user_folder()):
        path = folder / file_name(gpu)
        try:
            found |= read_table(path) if path.is_file() else {}
        except (ValueError, OSError) as error:
            if folder == SHIPPED:
                raise
            logger.warning("%s; models run without it", error)  # a cache is no reason to run nothing
    return found


def _entry(entry: Mapping[str, Any]) -> tuple[ConvProblem, Measured]:
    problem, config = dict(entry["problem"]), entry["config"]
    problem["kernel"] = _pair(problem["kernel"])
    return _made(ConvProblem, problem), Measured(
        None if config is None else _made(ConvConfig, config),
        _seconds(entry["seconds"]),
        _seconds(entry["cudnn_seconds"]),
    )


def _made(kind: Any, fields: Mapping[str, Any]) -> Any:
    """A dataclass of numbers, names and pairs from JSON, its fields complete and of the right type."""
    expected = {field.name: field.type for field in dataclasses.fields(kind)}
    if set(fields) != set(expected):
        raise ValueError(f"{kind.__name__} has fields {sorted(fields)}, expected {sorted(expected)}")
    for name, value in fields.items():
        types = {"int": int, "bool": bool, "str": str, "Variant": str, "tuple[int, int]": tuple}
        if type(value) is not types[str(expected[name])]:
            raise ValueError(f"{name} is {value!r}, expected {expected[name]}")
    return kind(**fields)


def _pair(value: Sequence[Any]) -> tuple[int, int]:
    if len(value) != 2 or any(type(each) is not int for each in value):
        raise ValueError(f"kernel is {value!r}, expected two integers")
    return value[0], value[1]


def _seconds(value: Any) -> float | None:
    if value is not None and not (isinstance(value, int | float) and 0 < value < 3600):
        raise ValueError(f"a time is {value!r}, expected seconds or null")
    return value
