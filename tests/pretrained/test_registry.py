"""What the registry says is consistent with itself; whether it is true, only its sources can tell."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fcnrt.errors import InputError
from fcnrt.pretrained import REGISTRY, Digest, Pretrained, find, is_name, torchvision_files

HOSTS = {"download.pytorch.org", "download.openmmlab.com", "drive.google.com", "dl.caffe.berkeleyvision.org"}


def test_entries_are_complete() -> None:
    for entry in REGISTRY.values():
        assert re.fullmatch(r"[a-z0-9_-]+", entry.name)
        assert not entry.classes or len(entry.classes) == entry.num_classes, entry.name
        assert entry.score is None or 0 < entry.score.value < 100, entry.name
        assert entry.licence and entry.trained_on and entry.arch, entry.name
        assert {"url", "size", "digest", "licence"} <= set(entry.sources), entry.name


def test_urls_are_those_of_the_publishers() -> None:
    for entry in REGISTRY.values():
        url = urlsplit(entry.url)
        assert url.hostname in HOSTS
        assert url.scheme == "https" or url.hostname == "dl.caffe.berkeleyvision.org", entry.url
        assert entry.by_hand == (url.hostname == "drive.google.com"), entry.name
        assert entry.by_hand or url.path.endswith(f"/{entry.file_name}"), entry.name


def test_hashes_begin_as_the_names_of_the_files_say() -> None:
    for entry in REGISTRY.values():
        in_name = re.search(r"-([0-9a-f]{8})\.pth$", entry.file_name)
        if in_name:
            assert entry.digest is not None
            assert entry.digest.algorithm == "sha256"
            assert entry.digest.value.startswith(in_name[1]), entry.name
        elif entry.digest is None:
            assert urlsplit(entry.url).hostname == "dl.caffe.berkeleyvision.org", entry.name
        else:
            assert entry.digest.is_whole, entry.name


@pytest.mark.parametrize("row", [*torchvision_files.FCNS, *torchvision_files.CLASSIFIERS], ids=lambda row: row.name)
def test_sizes_in_bytes_round_to_those_published(row: torchvision_files.Row) -> None:
    entry = REGISTRY[row.name]
    assert entry.size == row.size
    assert entry.max_bytes / 2**20 - row.mib < 0.00101
    assert row.mib - entry.min_bytes / 2**20 < 0.00101


def test_names_are_found_or_others_offered() -> None:
    assert find("fcn_resnet50_coco").size == 141_567_418
    with pytest.raises(InputError, match=r"called 'fcn_resnet5_coco'; did you mean fcn_resnet50_coco or .*--list"):
        find("fcn_resnet5_coco")
    with pytest.raises(InputError, match=r"called 'fcn_d6'; did you mean fcn_d6_r50-d16_512x1024_40k_cityscapes or "):
        find("fcn_d6")
    with pytest.raises(InputError, match=r"called 'x/y'; `fcnrt pull --list` names them all"):
        find("x/y")


def test_existing_file_goes_before_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_name("vgg16")
    assert not is_name("vgg17")
    assert not is_name(Path("vgg16"))
    Path("vgg16").mkdir()
    assert is_name("vgg16")
    Path("vgg16").rmdir()
    Path("vgg16").touch()
    assert not is_name("vgg16")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file_name": "../net.pth"}, "expected a plain name"),
        ({"file_name": ".net"}, "expected a plain name"),
        ({"file_name": ""}, "expected a plain name"),
        ({"url": "file:///etc/passwd"}, "expected one of https or http"),
        ({"min_bytes": 2, "max_bytes": 1}, "expected 1 or more"),
    ],
)
def test_entries_that_could_not_be_fetched(changes: dict[str, object], message: str) -> None:
    facts: dict[str, object] = {
        "name": "net",
        "url": "https://example.org/net.pth",
        "file_name": "net.pth",
        "digest": None,
        "kind": "fcn",
        "arch": "fcn8s",
        "num_classes": 21,
        "trained_on": "nothing",
        "licence": "MIT",
    }
    with pytest.raises(InputError, match=message):
        Pretrained(**{**facts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["1167a1a", "1167A1AF", "1167a1ag", "0" * 33])
def test_digests_that_are_none(value: str) -> None:
    with pytest.raises(InputError, match="expected 8 to 32 digits"):
        Digest("md5", value)
