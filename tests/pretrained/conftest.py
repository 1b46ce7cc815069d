"""A host on loopback that does what each test asks of it, mostly wrong things."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fcnrt.pretrained import Digest, Pretrained, cache, download

Answer = Callable[[BaseHTTPRequestHandler], None]


class Host:
    """Answers each request with the next of ``script``, and honestly once that is used up.

    Tests get it as a fixture and name its answers by its methods.
    """

    payload = bytes(range(256)) * 40 + b"end"
    page = b"<!DOCTYPE html><html>please log in</html>"

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.requests: list[dict[str, str]] = []
        self.etag = '"first"'
        self.closing = threading.Event()
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.requests.append({key.lower(): value for key, value in self.headers.items()})
                answer = host.script.pop(0) if host.script else host.honest
                try:
                    answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/net.pth"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def entry(self, **changes: object) -> Pretrained:
        """What a registry would say of the host's file."""
        facts: dict[str, object] = {
            "name": "net",
            "url": self.url,
            "file_name": "net.pth",
            "digest": Digest("sha256", hashlib.sha256(self.payload).hexdigest()),
            "min_bytes": len(self.payload),
            "max_bytes": len(self.payload),
            "kind": "fcn",
            "arch": "fcn8s",
            "num_classes": 21,
            "trained_on": "nothing",
            "licence": "MIT",
        }
        return Pretrained(**{**facts, **changes})  # type: ignore[arg-type]

    def honest(self, handler: BaseHTTPRequestHandler) -> None:
        """What a web server does, with Range and If-Range."""
        start = _wanted(handler)
        if start is None or handler.headers.get("If-Range", self.etag) != self.etag:
            _send(handler, self.payload, ETag=self.etag)
        elif start >= len(self.payload):
            _send(handler, b"", 416, Content_Range=f"bytes */{len(self.payload)}")
        else:
            _send(handler, self.payload[start:], 206, ETag=self.etag, Content_Range=self.extent(start))

    def ignores_range(self, handler: BaseHTTPRequestHandler) -> None:
        _send(handler, self.payload, ETag=self.etag)

    def hangs(self, handler: BaseHTTPRequestHandler) -> None:
        _send(handler, self.payload[:100], length=len(self.payload), ETag=self.etag)
        handler.wfile.flush()
        self.closing.wait(2)

    def cuts_off_after(self, count: int, **headers: str) -> Answer:
        """``count`` further bytes of what was asked for, then nothing."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            start = _wanted(handler) or 0
            extent = {"Content_Range": self.extent(start)} if start else {}
            _send(
                handler,
                self.payload[start : start + count],
                206 if start else 200,
                len(self.payload) - start,
                **{"ETag": self.etag, **extent, **headers},
            )

        return answer

    def sends(self, body: bytes, status: int = 200, length: int | None = -1, **headers: str) -> Answer:
        """That body, whatever was asked for; ``length`` is what it claims to be long, None for no claim."""
        return lambda handler: _send(handler, body, status, length, **headers)

    def redirects_to(self, url: str) -> Answer:
        return self.sends(b"", 302, Location=url)

    def extent(self, start: int) -> str:
        return f"bytes {start}-{len(self.payload) - 1}/{len(self.payload)}"


def _wanted(handler: BaseHTTPRequestHandler) -> int | None:
    match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    return int(match[1]) if match else None


def _send(
    handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, length: int | None = -1, **headers: str
) -> None:
    handler.send_response(status)
    if length is not None:
        handler.send_header("Content-Length", str(len(body) if length == -1 else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Host]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("FCNRT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    monkeypatch.setattr(download, "CHUNK", 1000)
    monkeypatch.setattr(cache, "LOCK_PAUSE", 0.01)
    host = Host()
    yield host
    host.close()
