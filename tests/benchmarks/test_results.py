"""What a result file may say of the machine that made it, and what it may not."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from benchmarks.environment import environment, machine_name
from benchmarks.results import command_line, write_json


@pytest.mark.parametrize(
    ("cpu", "cores", "gpu", "name"),
    [
        ("AMD EPYC", 2, None, "amd-epyc-2-cores"),
        ("AMD EPYC 7B13 64-Core Processor", 8, None, "amd-epyc-7b13-8-cores"),
        ("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", 1, None, "intel-xeon-platinum-8481c-1-core"),
        ("AMD EPYC", 16, "NVIDIA H200", "nvidia-h200"),
        ("AMD EPYC", 16, "NVIDIA H100 80GB HBM3", "nvidia-h100-80gb-hbm3"),
    ],
)
def test_machines_are_named_by_what_computes(cpu: str, cores: int, gpu: str | None, name: str) -> None:
    assert machine_name(cpu, cores, gpu) == name


def test_the_environment_names_no_host() -> None:
    recorded = environment()
    text = json.dumps(recorded)
    assert len(platform.node()) < 4 or platform.node() not in text
    assert str(Path.home()) not in text
    assert {"machine", "cpu", "gpu", "software", "threads"} <= recorded.keys()
    assert recorded["software"]["torch"]


def test_the_command_keeps_no_folders(tmp_path: Path) -> None:
    arguments = [
        f"{tmp_path}/benchmarks",
        "--benchmark-only",
        "--fcnrt-results=/home/someone/private/results",
        "/home/someone/x.json",
        "-k",
        "a and b",
    ]
    assert command_line(arguments, tmp_path) == (
        "pytest benchmarks --benchmark-only --fcnrt-results=results x.json -k 'a and b'"
    )


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "machine" / "suite.json"
    write_json(path, {"old": True})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(path, {"new": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"old": True}
    assert list(path.parent.iterdir()) == [path]
