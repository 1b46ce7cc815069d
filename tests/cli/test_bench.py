"""``fcnrt bench``: what is printed, and that it is true where that does not depend on the clock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import fcnrt
from fcnrt.cli import main
from fcnrt.cli.bench import images
from fcnrt.measuring import agree, in_turn, peak_bytes
from fcnrt.preprocessing import PRESETS

CPU = torch.device("cpu")


def test_a_line_of_json_per_size(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--size", "33x47", "20x20", "--size", "1x1", "--batch", "2", "--repeats", "1", "--dtype", "float32"]
    assert main(["bench", str(checkpoint), *options, "--device", "cpu", "--json", "--startup"]) == 0
    captured = capsys.readouterr()
    records = [json.loads(line) for line in captured.out.splitlines()]
    assert [(record["height"], record["width"]) for record in records] == [(33, 47), (20, 20), (1, 1)]
    for record in records:
        assert (record["arch"], record["batch"], record["dtype"], record["engine"]) == ("fcn8s", 2, "float32", "fused")
        assert record["relative_error"] <= 1e-5
        assert record["label_agreement"] >= 0.9999
        assert record["ratio"] == record["eager"]["seconds"] / record["fused"]["seconds"]
        assert record["eager"]["peak_bytes"] > 0 < record["fused"]["peak_bytes"]
        assert set(record["startup"]) == {"load_seconds", "plan_seconds", "first_seconds"}
    assert "profiler" not in captured.err


def test_the_table(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--size", "9x12", "--repeats", "1", "--dtype", "float32", "--device", "cpu"]
    assert main(["bench", str(checkpoint), *options]) == 0
    title, heads, *lines = capsys.readouterr().out.splitlines()
    assert title.startswith("fcn8s, 5 classes, 9x12, batch 1, on cpu")
    assert heads.split() == ["eager", "float32", "fused", "float32"]
    assert [line.split("  ")[1] for line in lines] == ["time", "peak memory", "labels equal", "relative error"]
    assert lines[2].split()[-2:] == ["100", "%"]
    assert main(["bench", str(checkpoint), *options, "--startup"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[6:]] == ["load", "plan", "first", "steady"]


@pytest.mark.parametrize("option", [["--size", "375"], ["--size", "0x5"], ["--size", "5x-5"], ["--batch", "many"]])
def test_what_the_parser_refuses(option: list[str], checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["bench", str(checkpoint), *option])
    assert end.value.code == 2
    assert option[1] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["no-such-file.pt"], 4, "no such file"),
        (["--batch", "0"], 2, "--batch is 0; expected at least 1"),
        (["--repeats", "-1"], 2, "--repeats is -1; expected at least 1"),
        (["--dtype", "int3"], 2, "dtype 'int3' is not supported"),
    ],
)
def test_exit_codes(arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *arguments]) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_a_wrong_model_shows(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = fcnrt.Segmenter.predict_labels

    def off_by_one(self: fcnrt.Segmenter, x: Tensor) -> Tensor:
        return torch.Tensor.__add__(honest(self, x), 1)

    monkeypatch.setattr(fcnrt.Segmenter, "predict_labels", off_by_one)
    assert main(["bench", str(checkpoint), "--size", "9x12", "--repeats", "1", "--device", "cpu", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["label_agreement"] == 0


@pytest.mark.parametrize("name", PRESETS)
def test_images_for_every_normalization(name: str) -> None:
    x = images(2, (5, 7), PRESETS[name])
    assert x.shape == (2, PRESETS[name].channels, 5, 7)
    assert x.isfinite().all()
    assert not torch.equal(x[0], x[1])


def test_peak_memory_is_the_high_water_mark() -> None:
    def call() -> Tensor:
        first = torch.zeros(10_000)
        second = first + 1
        del first
        return torch.cat((second, torch.zeros(20_000)))

    # At the end 10,000, 20,000 and their 30,000 together; the first is gone by then.
    assert peak_bytes(call, CPU) == 4 * 60_000


def test_calls_take_turns_after_a_warm_up() -> None:
    called: list[str] = []
    medians = in_turn((lambda: called.append("a"), lambda: called.append("b")), 2, CPU)
    assert "".join(called) == "ababab"
    assert len(medians) == 2


def test_of_several_heads_the_worst_counts() -> None:
    scores = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])
    labels = scores.argmax(dim=1)
    found = agree({"a": scores, "b": 2 * scores}, {"a": 1 - labels, "b": labels}, {"a": scores, "b": scores})
    assert (found.relative_error, found.labels) == (1.0, 0.0)
