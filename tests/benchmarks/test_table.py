"""Results as tables: ratios to the reference, and absolute times where a GPU took them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.results import result_files
from benchmarks.table import main, parse, render


def _benchmark(group: str, contender: str, median: float, **extra: Any) -> dict[str, Any]:
    return {
        "group": group,
        "name": f"test_it[{contender}]",
        "fullname": f"benchmarks/test_network.py::test_it[{contender}]",
        "stats": {"median": median, "iqr": median / 10, "min": median, "rounds": 7, "data": [median] * 7},
        "extra_info": {
            "suite": "network",
            "contender": contender,
            "reference": contender == "eager float32",
            "relative_error": 0.0,
            "label_agreement": 1.0,
            **extra,
        },
    }


@pytest.fixture
def measured() -> dict[str, Any]:
    """What pytest-benchmark writes, as far as the table reads it."""
    return {
        "machine_info": {
            "machine": "some-cpu-2-cores",
            "cpu": {"model": "Some CPU", "cores": 2, "capability": "AVX2"},
            "gpu": None,
            "software": {"python": "3.11.7", "torch": "2.13.0", "triton": None},
            "threads": 2,
        },
        "commit_info": {"id": "0123456789abcdef", "dirty": True},
        "command": "pytest benchmarks/ --benchmark-only",
        "benchmarks": [
            _benchmark("a net", "eager float32", 3.0),
            _benchmark("a net", "fcnrt float32", 1.2, relative_error=1.2e-6, label_agreement=0.999996),
            _benchmark("a net", "torch.compile float32", 2.0, relative_error=None),
            _benchmark("another", "fcnrt float32", 0.5),
        ],
    }


def _on_gpu(measured: dict[str, Any]) -> dict[str, Any]:
    content = copy.deepcopy(measured)
    content["machine_info"] |= {"machine": "some-gpu", "gpu": {"name": "Some GPU", "capability": "sm_90"}}
    for benchmark, alone in zip(content["benchmarks"], (2.0, 0.5, None, 0.1), strict=True):
        benchmark["extra_info"]["device_seconds"] = alone
    return content


def test_ratios_and_agreement(measured: dict[str, Any]) -> None:
    first, second = parse(measured).groups
    assert [row.ratio for row in first.rows] == [1.0, 2.5, 1.5]
    assert [row.relative_error for row in first.rows] == [0.0, 1.2e-6, None]
    assert first.rows[1].spread == pytest.approx(0.1)
    assert second.rows[0].ratio is None  # its reference was not run


def test_a_cpu_shows_ratios_alone(measured: dict[str, Any]) -> None:
    assert render(parse(measured)) == (
        "\n"
        "a net\n"
        "  contender              against eager  spread  relative error  labels equal\n"
        "  eager float32                  1.00x     10%         0.0e+00         100 %\n"
        "  fcnrt float32                  2.50x     10%         1.2e-06      99.999 %\n"
        "  torch.compile float32          1.50x     10%               -         100 %\n"
        "\n"
        "another\n"
        "  contender              against eager  spread  relative error  labels equal\n"
        "  fcnrt float32                      -     10%         0.0e+00         100 %\n"
        "\n"
        "Some CPU, 2 cores (AVX2), 2 threads; torch 2.13.0, python 3.11.7; commit 0123456789ab with changes. "
        "Command: `pytest benchmarks/ --benchmark-only`"
    )


def test_memory_is_shown_where_it_was_measured(measured: dict[str, Any]) -> None:
    rows = measured["benchmarks"]
    rows[0]["extra_info"]["peak_bytes"], rows[1]["extra_info"]["peak_bytes"] = 200, 90
    table = render(parse(measured)).splitlines()
    assert table[2:6] == [
        "  contender              against eager  peak memory  spread  relative error  labels equal",
        "  eager float32                  1.00x         100%     10%         0.0e+00         100 %",
        "  fcnrt float32                  2.50x          45%     10%         1.2e-06      99.999 %",
        "  torch.compile float32          1.50x            -     10%               -         100 %",
    ]


def test_a_gpu_shows_times_with_and_without_the_host(measured: dict[str, Any]) -> None:
    table = render(parse(_on_gpu(measured)), markdown=True).splitlines()
    assert table[:5] == [
        "| workload | contender | ms | against eager | ms, GPU alone | against eager, GPU alone | spread "
        "| relative error | labels equal |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| a net | eager float32 | 3000 | 1.00x | 2000 | 1.00x | 10% | 0.0e+00 | 100 % |",
        "|  | fcnrt float32 | 1200 | 2.50x | 500 | 4.00x | 10% | 1.2e-06 | 99.999 % |",
        "|  | torch.compile float32 | 2000 | 1.50x | - | - | 10% | - | 100 % |",
    ]
    assert table[-1].startswith("Some GPU (sm_90, driver unknown); Some CPU")


def test_a_saved_file_says_the_same(
    measured: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "benchmark.json"
    source.write_text(json.dumps(measured), encoding="utf-8")
    assert main([str(source), "--save", str(tmp_path / "results")]) == 0
    shown = capsys.readouterr().out
    saved = tmp_path / "results" / "some-cpu-2-cores" / "network.json"
    assert [path for path in (tmp_path / "results").rglob("*") if path.is_file()] == [saved]
    assert "data" not in saved.read_text(encoding="utf-8")
    assert main([str(saved)]) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not JSON", "Expecting value"),
        ("[]", "no benchmark results"),
        ('{"benchmarks": []}', "no benchmark results"),
    ],
)
def test_other_files_are_refused(text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.json"
    path.write_text(text, encoding="utf-8")
    assert main([str(path)]) == 2
    assert message in capsys.readouterr().err
    assert main([str(tmp_path / "missing.json")]) == 2


def test_benchmarks_of_others_are_refused(measured: dict[str, Any]) -> None:
    measured["benchmarks"][0]["extra_info"] = {}
    with pytest.raises(ValueError, match=r"test_it\[eager float32\] names no suite and no contender"):
        result_files(measured)
