"""The soak in small: it counts, it checks, and it says what is wrong."""

from __future__ import annotations

import sys

import pytest

from benchmarks import soak
from benchmarks.soak import ERROR_BOUND, GROWTH_BOUND, Soak


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_short_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "LARGEST", 40)
    assert soak.main(["--calls", "12", "--threads", "3"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("12 calls in ")
    assert captured.err == ""
    monkeypatch.setattr(soak, "ERROR_BOUND", -1.0)
    assert soak.main(["--calls", "1"]) == 1
    assert "logits are off" in capsys.readouterr().err


def test_faults() -> None:
    warm = 1 << 30
    assert Soak(10, warm, warm + GROWTH_BOUND, ERROR_BOUND, 1.0).faults == []
    assert Soak(10, warm, warm - 1, 0.0, 1.0).faults == []
    assert Soak(10, warm, warm + GROWTH_BOUND + 1, 0.0, 1.0).faults == ["memory grew by more than 48 MiB"]
    assert Soak(10, warm, warm, float("nan"), 1.0).faults == ["logits are off by more than 1e-05"]


@pytest.mark.parametrize("arguments", [["--calls", "0"], ["--threads", "0"]])
def test_wrong_arguments(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        soak.main(arguments)
    assert end.value.code == 2
