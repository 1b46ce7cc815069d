"""``fcnrt pull``: the path on standard output, everything else beside it."""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import pytest

from fcnrt.cli import pull
from fcnrt.errors import DownloadError, InputError
from fcnrt.pretrained import REGISTRY, Digest, Pretrained, registry

CONTENT = b"weights"


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    pull.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["pull", *arguments])
    code: int = parsed.run(parsed)
    return code


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that has the file of a published net, ``net``, and one that nobody can vouch for, ``unhashed``."""
    facts = {"kind": "fcn", "arch": "fcn8s", "num_classes": 21, "trained_on": "nothing", "licence": "MIT"}
    hashed = Digest("sha256", hashlib.sha256(CONTENT).hexdigest())
    entries = {
        name: Pretrained(name, f"http://127.0.0.1:9/{name}.pth", f"{name}.pth", digest, **facts)  # type: ignore[arg-type]
        for name, digest in (("net", hashed), ("unhashed", None))
    }
    monkeypatch.setattr(registry, "REGISTRY", {**REGISTRY, **entries})
    monkeypatch.setenv("FCNRT_CACHE_DIR", str(tmp_path))
    for name in entries:
        (tmp_path / f"{name}.pth").write_bytes(CONTENT)
    return tmp_path


def test_prints_the_path_and_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("net") == 0
    captured = capsys.readouterr()
    assert captured.out == f"{folder / 'net.pth'}\n"
    assert captured.err == "fcnrt: note: licence: MIT\n"


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("net", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["path"] == str(folder / "net.pth")
    assert record["digest"] == {"sha256": hashlib.sha256(CONTENT).hexdigest()}


def test_file_that_nobody_can_vouch_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DownloadError, match="--unverified"):
        run("unhashed")
    assert run("unhashed", "--unverified") == 0
    assert "nobody published a hash" in capsys.readouterr().err


def test_list_names_every_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fcn8s_from_caffe.pth").touch()
    assert run("--list", "--cache-dir", str(tmp_path)) == 0
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["NAME", "MB", "SCORE", "TRAINED", "ON", "LICENCE", "CHECK", "HERE"]
    assert [row.split()[0] for row in rows] == list(REGISTRY)
    cells = {row.split()[0]: row.split() for row in rows}
    assert cells["fcn_resnet50_coco"][1:4] == ["141.6", "mIoU", "60.50"]
    assert cells["fcn_resnet50_coco"][-2:] == ["sha256", "no"]
    assert cells["fcn8s-voc"][-2:] == ["md5", "yes"]
    assert cells["fcn16s-voc"][-3:] == ["md5", "by", "hand"]
    assert cells["caffe-voc-fcn32s"][-3:] == ["none:", "--unverified", "no"]


def test_list_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--list", "--json", "--cache-dir", str(tmp_path)) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["name"] for record in records] == list(REGISTRY)
    assert all(record["path"] is None for record in records)
    assert records[0]["score"]["metric"] == "mIoU"
    assert records[0]["normalization"]["name"] == "imagenet"


@pytest.mark.parametrize("arguments", [[], ["net", "--list"]])
def test_either_a_name_or_the_list(arguments: list[str]) -> None:
    with pytest.raises(InputError, match="either the name of a published file or --list"):
        run(*arguments)


def test_unknown_name() -> None:
    with pytest.raises(InputError, match="did you mean fcn8s-voc"):
        run("fcn8-voc")
