"""A file over http: what honest servers, and all the others, make of it."""

from __future__ import annotations

import io
import socket
import urllib.request
from http.client import HTTPMessage
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fcnrt.errors import DownloadError
from fcnrt.pretrained import download, pull

Host = Any
"""The fixture of ``conftest.py``."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_fetched_once_then_found(host: Host, folder: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = pull(host.entry(), progress=lambda received, total: seen.append((received, total)))
    assert path == folder / "net.pth"
    assert path.read_bytes() == host.payload
    assert seen[-1] == (len(host.payload), len(host.payload))
    assert pull(host.entry()) == path
    assert len(host.requests) == 1
    assert sorted(file.name for file in folder.iterdir()) == ["net.pth", "net.pth.lock"]


def test_resumes_where_it_was_cut_off(host: Host) -> None:
    host.script = [host.cuts_off_after(4000), host.cuts_off_after(3000)]
    assert pull(host.entry()).read_bytes() == host.payload
    assert [request.get("range") for request in host.requests] == [None, "bytes=4000-", "bytes=7000-"]
    assert host.requests[1]["if-range"] == host.etag


def test_resumes_by_date_where_the_etag_is_weak(host: Host) -> None:
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    host.script = [host.cuts_off_after(4000, ETag='W/"weak"', Last_Modified=date)]
    pull(host.entry())
    assert host.requests[1]["if-range"] == date


def test_begins_anew_where_the_server_names_no_version(host: Host) -> None:
    host.script = [host.cuts_off_after(4000, ETag="")]
    assert pull(host.entry()).read_bytes() == host.payload
    assert "range" not in host.requests[1]


def test_resumes_after_an_interrupt_in_another_process(host: Host, folder: Path) -> None:
    def interrupt(received: int, total: int | None) -> None:
        if received > 3000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull(host.entry(), progress=interrupt)
    kept = (folder / "net.pth.part").stat().st_size
    assert 3000 < kept < len(host.payload)
    assert pull(host.entry()).read_bytes() == host.payload
    assert host.requests[1]["range"] == f"bytes={kept}-"


def test_range_ignored(host: Host) -> None:
    host.script = [host.cuts_off_after(4000), host.ignores_range]
    assert pull(host.entry()).read_bytes() == host.payload


def test_file_changed_between_two_parts(host: Host) -> None:
    def changes(handler: Any) -> None:
        host.cuts_off_after(4000)(handler)
        host.etag = '"second"'

    host.script = [changes]
    assert pull(host.entry()).read_bytes() == host.payload
    assert host.requests[1]["if-range"] == '"first"'


def test_another_part_than_asked_for(host: Host) -> None:
    other = host.sends(host.payload[5:], 206, Content_Range=host.extent(5))
    host.script = [host.cuts_off_after(4000), other]
    assert pull(host.entry()).read_bytes() == host.payload
    assert "range" not in host.requests[2]


@pytest.mark.parametrize("size", ["exact", "unknown"])
def test_complete_part_needs_no_more_bytes(host: Host, folder: Path, size: str) -> None:
    folder.mkdir()
    (folder / "net.pth.part").write_bytes(host.payload)
    (folder / "net.pth.part.etag").write_text(host.etag)
    entry = host.entry() if size == "exact" else host.entry(min_bytes=1, max_bytes=10**6)
    assert pull(entry).read_bytes() == host.payload
    assert len(host.requests) == (0 if size == "exact" else 1)


@pytest.mark.parametrize("state", ["longer than the file", "odd validator"])
def test_useless_part_is_begun_anew(host: Host, folder: Path, state: str) -> None:
    folder.mkdir()
    (folder / "net.pth.part").write_bytes(bytes(20_000 if state == "longer than the file" else 50))
    (folder / "net.pth.part.etag").write_text('"first"' if state == "longer than the file" else "a\r\nHost: b")
    assert pull(host.entry(min_bytes=1, max_bytes=10**6)).read_bytes() == host.payload


def test_web_page_instead_of_the_file(host: Host, folder: Path) -> None:
    host.script = [host.cuts_off_after(4000), host.sends(host.page)]
    with pytest.raises(DownloadError, match="sends a web page, not the file"):
        pull(host.entry())
    assert (folder / "net.pth.part").stat().st_size == 4000  # what came before is still good
    assert pull(host.entry()).read_bytes() == host.payload


def test_web_page_that_trickles(host: Host) -> None:
    def trickles(handler: Any) -> None:
        host.sends(host.page[:1], length=len(host.page))(handler)
        handler.wfile.flush()
        host.closing.wait(0.05)
        handler.wfile.write(host.page[1:])

    host.script = [trickles]
    with pytest.raises(
        DownloadError, match=r"is not the published file: it is a web page of 41 bytes\. It was removed"
    ):
        pull(host.entry(digest=None, min_bytes=1), unverified=True)


def test_wrong_bytes_are_removed(host: Host, folder: Path) -> None:
    host.script = [host.sends(bytes(len(host.payload)))]
    with pytest.raises(DownloadError, match=r"is not the published file: its sha256 is \w{64}, that of") as error:
        pull(host.entry())
    assert str(folder / "net.pth") in str(error.value)  # how to put it there by hand
    assert [file.name for file in folder.iterdir()] == ["net.pth.lock"]


@pytest.mark.parametrize("length", [10, 10**9])
def test_size_that_cannot_be_right_is_refused_before_reading(host: Host, folder: Path, length: int) -> None:
    host.script = [host.sends(host.payload, length=length)]
    with pytest.raises(DownloadError, match=rf"sends {length:,} bytes, and the published file has 10,243 bytes"):
        pull(host.entry())
    assert not (folder / "net.pth.part").exists()


def test_never_writes_more_than_the_file_has(host: Host, folder: Path) -> None:
    largest = 0

    def watch(received: int, total: int | None) -> None:
        nonlocal largest
        largest = max(largest, received)

    host.script = [host.sends(host.payload * 50, length=None)]
    with pytest.raises(DownloadError, match=r"sends more than the published file has, at most 30,000 bytes"):
        pull(host.entry(min_bytes=1, max_bytes=30_000), progress=watch)
    assert 0 < largest <= 30_000
    assert not (folder / "net.pth.part").exists()


def test_length_that_is_not_said(host: Host) -> None:
    host.script = [host.sends(host.payload[:500], length=None, ETag=host.etag), host.sends(host.payload, length=None)]
    assert pull(host.entry()).read_bytes() == host.payload


def test_gives_up_after_so_many_attempts(host: Host) -> None:
    host.script = [host.sends(b"", length=len(host.payload))] * 100
    with pytest.raises(DownloadError, match=r"it ended after 0 of 10,243 bytes \(8 attempts\)\. By hand: get"):
        pull(host.entry())
    assert len(host.requests) == download.ATTEMPTS


def test_hanging_server_is_left(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "ATTEMPTS", 2)
    host.script = [host.hangs, host.hangs]
    with pytest.raises(DownloadError, match=r"nothing came for 0\.3 s \(2 attempts\); 100 bytes are kept"):
        pull(host.entry())
    assert pull(host.entry()).read_bytes() == host.payload
    assert host.requests[2]["range"] == "bytes=100-"


def test_server_that_recovers(host: Host) -> None:
    host.script = [host.sends(b"", 500), host.sends(host.page, 503), host.sends(b"", 429)]
    assert pull(host.entry()).read_bytes() == host.payload


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, r"the file is no longer there \(404 Not Found\)"),
        (410, r"no longer there \(410 Gone\)"),
        (403, r"the server refuses \(403 Forbidden\)"),
    ],
)
def test_refusals_are_final(host: Host, status: int, message: str) -> None:
    host.script = [host.sends(host.page, status)]
    with pytest.raises(DownloadError, match=message):
        pull(host.entry())
    assert len(host.requests) == 1


def test_redirect_is_followed_with_the_range(host: Host) -> None:
    host.script = [host.cuts_off_after(4000), host.redirects_to("/elsewhere")]
    assert pull(host.entry()).read_bytes() == host.payload
    assert host.requests[2]["range"] == "bytes=4000-"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/net.pth", "data:,x", "http://[", "/"])
def test_redirect_that_is_not_followed(host: Host, url: str, tmp_path: Path) -> None:
    host.script = [host.redirects_to(url)] * 20
    with pytest.raises(DownloadError, match=r"which is not followed|not a URL"):
        pull(host.entry())


def test_redirect_from_https_to_http_is_not_followed() -> None:
    request = urllib.request.Request("https://example.org/net.pth")
    body = io.BytesIO()
    with pytest.raises(DownloadError, match=r"redirects to http://example.org/net.pth, which is not followed"):
        download._Redirects().redirect_request(request, body, 302, "Found", HTTPMessage(), "http://example.org/net.pth")
    assert body.closed


def test_other_schemes_are_not_fetched(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="only https and http are"):
        download.download("file:///etc/passwd", tmp_path / "part", 1, 10**6)


def test_offline(host: Host, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(
        DownloadError, match=r"the host is not found .* may be offline\. By hand: get http.*cache/net\.pth"
    ):
        pull(host.entry())


def test_connection_refused(host: Host) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/net.pth"
        with pytest.raises(DownloadError, match=r"the connection failed \(.*refused\) \(8 attempts\)"):
            pull(host.entry(url=url))


def test_full_disk_is_no_fault_of_the_network(host: Host, folder: Path) -> None:
    (folder / "net.pth.part").mkdir(parents=True)
    with pytest.raises(DownloadError, match=r"net\.pth\.part cannot be written"):
        pull(host.entry())
    assert len(host.requests) == 1


def test_whatever_the_server_does_the_cache_has_the_file_or_none(host: Host) -> None:
    size = len(host.payload)
    answers = [
        host.honest,
        host.ignores_range,
        host.cuts_off_after(0),
        host.cuts_off_after(2500),
        host.cuts_off_after(2500, ETag="W/x"),
        host.sends(host.page),
        host.sends(bytes(size)),
        host.sends(bytes(size), 206, Content_Range=host.extent(2500)),
        host.sends(host.payload + b"more", length=None),
        host.sends(host.payload[:77], length=None),
        host.sends(b"", 416, Content_Range="bytes */2500"),
        host.sends(b"", 500),
        host.sends(b"", 404),
        host.sends(b"", 204),
        host.redirects_to("/elsewhere"),
        host.redirects_to("file:///etc/passwd"),
        lambda handler: handler.wfile.write(b"no http\r\n\r\n"),
        lambda handler: handler.connection.close(),
    ]

    @settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(script=st.lists(st.sampled_from(answers), max_size=10), exact=st.booleans())
    def check(script: list[Any], exact: bool) -> None:
        entry = host.entry() if exact else host.entry(min_bytes=1, max_bytes=2 * size)
        host.script = list(script)
        with TemporaryDirectory() as folder:
            for _ in range(4):
                try:
                    path = pull(entry, cache_dir=folder)
                except DownloadError:
                    assert not Path(folder, "net.pth").exists()
                else:
                    assert path.read_bytes() == host.payload
                part = Path(folder, "net.pth.part")
                assert not part.exists() or part.stat().st_size <= entry.max_bytes
            host.script = []
            assert pull(entry, cache_dir=folder).read_bytes() == host.payload

    check()
