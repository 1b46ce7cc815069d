"""The cache: where it is, what is believed of the files in it, and who may write when."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from fcnrt.errors import DownloadError, InputError
from fcnrt.pretrained import REGISTRY, Digest, cache, cache_dir, local_path, pull

Host = Any
"""The fixture of ``conftest.py``."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "cache"
    path.mkdir()
    return path


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.delenv("FCNRT_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_dir() == Path("/home/ada/.cache/fcnrt")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert cache_dir() == Path("/var/cache/fcnrt")
    monkeypatch.setenv("FCNRT_CACHE_DIR", "~/weights")
    assert cache_dir() == Path("/home/ada/weights")


def test_local_path(host: Host, folder: Path) -> None:
    assert local_path(host.entry()) is None
    (folder / "net.pth").write_bytes(host.payload)
    assert local_path(host.entry()) == folder / "net.pth"
    assert local_path("fcn_resnet50_coco", cache_dir=folder) is None
    with pytest.raises(InputError, match="no published file is called 'net'"):
        local_path("net")


def test_file_put_there_by_hand_is_checked(host: Host, folder: Path) -> None:
    entry = host.entry(by_hand=True, digest=Digest("md5", hashlib.md5(host.payload).hexdigest()), note="ask first")
    target = folder / "net.pth"
    with pytest.raises(DownloadError, match=r"to a browser alone\. Open http\S+/net\.pth \(ask first\), save") as error:
        pull(entry)
    assert str(target) in str(error.value)
    assert f"its md5 {hashlib.md5(host.payload).hexdigest()} is checked" in str(error.value)
    target.write_bytes(host.page)
    with pytest.raises(DownloadError, match=r"is not net: it is a web page of 41 bytes\. Delete it, then get http"):
        pull(entry)
    target.write_bytes(host.payload[1:])
    with pytest.raises(DownloadError, match=r"is not net: it has 10,242 bytes, and the published file has 10,243"):
        pull(entry)
    target.write_bytes(bytes(len(host.payload)))
    with pytest.raises(DownloadError, match=r"is not net: its md5 is \w{32}, that of .* Delete it, then get http"):
        pull(entry)
    target.write_bytes(host.payload)
    assert pull(entry) == target
    assert host.requests == []


def test_google_drive_files_say_where_to_get_them(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    with pytest.raises(
        DownloadError, match=r"Open https://drive\.google\.com/uc\?id=\S+, save the file as .*fcn8s_from"
    ):
        pull("fcn8s-voc", cache_dir=folder)
    assert folder.is_dir()


def test_damaged_file_is_noticed_and_left(host: Host, folder: Path) -> None:
    path = pull(host.entry())
    damaged = b"\xff" + path.read_bytes()[1:]
    path.write_bytes(damaged)
    with pytest.raises(DownloadError, match=r"its sha256 is .* Delete it, then `fcnrt pull net` gets it anew"):
        pull(host.entry())
    assert path.read_bytes() == damaged
    path.unlink()
    assert pull(host.entry()).read_bytes() == host.payload


def test_first_digits_of_a_hash(host: Host) -> None:
    whole = hashlib.sha256(host.payload).hexdigest()
    with pytest.raises(DownloadError, match=r"that of the published file sha256 0{8}\.\.\."):
        pull(host.entry(digest=Digest("sha256", "0" * 8)))
    assert pull(host.entry(digest=Digest("sha256", whole[:8]))).read_bytes() == host.payload


def test_file_without_a_published_hash_is_only_taken_when_asked(host: Host, folder: Path) -> None:
    entry = host.entry(digest=None)
    with pytest.raises(DownloadError, match=r"nobody published a hash .* pass unverified=True \(`fcnrt pull net --unv"):
        pull(entry)
    assert host.requests == []
    path = pull(entry, unverified=True)
    digest = hashlib.sha256(host.payload).hexdigest()
    assert (folder / "net.pth.sha256").read_text() == f"{digest}  net.pth\n"
    assert pull(entry) == path  # accepted once, and still the same
    path.write_bytes(bytes(len(host.payload)))
    with pytest.raises(DownloadError, match=rf"and the file that was accepted had {digest}"):
        pull(entry, unverified=True)


def test_file_without_a_published_hash_put_there_by_hand(host: Host, folder: Path) -> None:
    (folder / "net.pth").write_bytes(host.payload)
    with pytest.raises(DownloadError, match=rf"Its sha256 is {hashlib.sha256(host.payload).hexdigest()}; to take it"):
        pull(host.entry(digest=None))
    assert pull(host.entry(digest=None), unverified=True) == folder / "net.pth"
    assert pull(host.entry(digest=None)) == folder / "net.pth"


def test_many_want_the_same_file_and_one_fetches_it(host: Host) -> None:
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(pull(host.entry()))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(host.requests) == 1
    assert [path.read_bytes() for path in paths] == [host.payload] * 6


@pytest.mark.skipif(sys.platform == "win32", reason="holds the lock by flock")
def test_lock_is_waited_for_then_given_up(host: Host, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import fcntl, sys; file = open(sys.argv[1], 'ab'); fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held'); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-u", "-c", code, str(folder / "net.pth.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        monkeypatch.setattr(cache, "LOCK_TIMEOUT", 0.1)
        with pytest.raises(DownloadError, match=r"net\.pth\.lock: another process has kept the lock for 0\.1 s"):
            pull(host.entry())
        assert host.requests == []
        holder.kill()  # the system lets go of a dead process's lock
    assert pull(host.entry()).read_bytes() == host.payload


def test_folder_that_cannot_be_made(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match=r"cannot be written to \(.*\); choose another folder with FCNRT_CACHE_DIR"):
        pull(host.entry(), cache_dir=tmp_path / "file" / "cache")


def test_registered_files_have_places_of_their_own() -> None:
    names = [entry.file_name for entry in REGISTRY.values()]
    assert len(set(names)) == len(names)
