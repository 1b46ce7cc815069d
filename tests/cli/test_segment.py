"""``fcnrt segment``: what is written, what is printed where, and how a run ends."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fcnrt
from fcnrt.cli import main
from fcnrt.cli.segment import plan_jobs
from fcnrt.errors import InputError


def test_writes_labels_and_overlay_and_prints_json(
    checkpoint: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["segment", str(photos), "--model", str(checkpoint), "--out", str(out), "--json"]) == 0
    captured = capsys.readouterr()
    records = [json.loads(line) for line in captured.out.splitlines()]
    assert [Path(record["labels"]) for record in records] == [out / "a.png", out / "sub" / "b.png"]
    model = fcnrt.load(checkpoint)
    for record in records:
        with Image.open(record["labels"]) as file:
            assert file.mode == "P"
            labels = np.array(file)
        assert (labels == model.segment(record["path"]).labels).all()
        assert labels.shape == (record["height"], record["width"])
        assert sum(row["pixels"] for row in record["classes"]) == labels.size
        with Image.open(record["overlay"]) as overlay:
            assert overlay.width >= record["width"]
            assert overlay.height >= record["height"]
    assert len(list(out.rglob("*.*"))) == 4
    assert "arch='fcn8s-atonce'" not in captured.out  # a warning is no data


def test_a_bad_image_costs_itself_alone(
    checkpoint: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "aa.jpg").write_bytes(b"<html>not a photo</html>")
    out = tmp_path / "out"
    missing = str(tmp_path / "missing.png")
    arguments = ["segment", str(photos), missing, str(tmp_path / "*.nothing"), "--model", str(checkpoint)]
    assert main([*arguments, "--out", str(out), "--json", "--no-overlay"]) == 3
    captured = capsys.readouterr()
    records = [json.loads(line) for line in captured.out.splitlines()]
    assert [record["path"] for record in records if "error" in record] == [str(photos / "aa.jpg"), missing]
    assert sorted(path.name for path in out.rglob("*.*")) == ["a.png", "b.png"]
    for words in ("aa.jpg", "missing.png", "*.nothing", "3 failed"):
        assert words in captured.err


def test_without_model_the_demo_net_speaks_up(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", str(photos / "a.png"), "--out", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert "using the demo net" in captured.err
    assert captured.out.count("\n") == 1
    assert captured.out.startswith(f"{photos / 'a.png'} -> {tmp_path / 'out' / 'a.png'}: ")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--model", "no-such-file.pt"], 4, "no such file"),
        (["--alpha", "2"], 2, "--alpha is 2.0; expected 0 to 1"),
        (["--resize", "0"], 2, "--resize is 0"),
        (["--dtype", "int3"], 2, "dtype 'int3' is not supported"),
        (["--device", "cuda:99"], 4, "sees 0 CUDA GPUs"),
    ],
)
def test_exit_codes(
    options: list[str],
    code: int,
    message: str,
    checkpoint: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    model = [] if "--model" in options else ["--model", str(checkpoint)]
    assert main(["segment", str(photos), *model, *options, "--out", str(tmp_path / "out")]) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert not (tmp_path / "out").exists()


def test_interrupt_and_internal_error(
    checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["segment", str(photos), "--model", str(checkpoint), "--out", str(tmp_path / "out")]
    for error, code, message in (
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("oh"), 1, "internal error"),
    ):

        def fail(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(fcnrt.Segmenter, "segment", fail)
        assert main(arguments) == code
        assert message in capsys.readouterr().err


def test_results_keep_apart_and_spare_the_images(tmp_path: Path) -> None:
    images = [tmp_path / "x" / "a.jpg", tmp_path / "x" / "a.png", tmp_path / "y" / "a.jpg"]
    names = [str(job.labels.relative_to("out")) for job in plan_jobs(images, Path("out"))]
    assert names == ["x/a.jpg.png", "x/a.png.png", "y/a.png"]
    with pytest.raises(InputError, match="would overwrite an image"):
        plan_jobs([tmp_path / "a.png"], tmp_path)
    assert plan_jobs([], Path("out")) == []
