"""One URL into one file: bounded in bytes and in attempts, and taken up again where it broke off."""

from __future__ import annotations

import re
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from fcnrt.errors import DownloadError
from fcnrt.pretrained.entry import SCHEMES
from fcnrt.pretrained.verification import describe_size, looks_like_html

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and, where it is known, how many there will be."""

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as broken."""
ATTEMPTS = 8
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 8.0
CHUNK = 1 << 18

_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_UNSATISFIED = re.compile(r"bytes \*/(\d+)")
_MAX_VALIDATOR = 256


class _BrokenOffError(Exception):
    """This attempt failed; the next one may not."""


def download(url: str, part: Path, min_bytes: int, max_bytes: int, progress: Progress | None = None) -> None:
    """Complete ``part``, of which some may already be there, with the file at ``url``.

    A server that can resume says what its file was by an ETag or a date; that lies in ``part.etag``, and a resumed
    file is begun anew where it has changed. Both are left behind by an error or an interrupt, for the next try.

    Args:
        url: http or https; redirects may not lead elsewhere, nor from https to http.
        part: The file to write.
        min_bytes: The file has at least so many bytes,
        max_bytes: and at most so many; not one more is written.
        progress: Called after each piece.

    Raises:
        DownloadError: The file cannot be had, or what is sent cannot be it.
    """
    if urlsplit(url).scheme not in SCHEMES:
        raise DownloadError(f"{url} is not fetched; only https and http are")
    reason: _BrokenOffError | None = None
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(min(FIRST_PAUSE * 2 ** (attempt - 1), LONGEST_PAUSE))
        try:
            _attempt(url, part, min_bytes, max_bytes, progress or _silent)
            return
        except _BrokenOffError as error:
            reason = error
        except OSError as error:  # the network's own are all accounted for: this is the disk
            raise DownloadError(f"{part} cannot be written ({error.strerror or error})") from error
    kept = _resumable(part, max_bytes)[0]
    hint = f"; {kept:,} bytes are kept, and another try goes on from there" if kept else ""
    raise DownloadError(f"{url}: {reason} ({ATTEMPTS} attempts){hint}") from reason


def discard(part: Path) -> None:
    """Remove what was received of a file.

    Raises:
        OSError: The system refuses.
    """
    part.unlink(missing_ok=True)
    _validator_path(part).unlink(missing_ok=True)


def _attempt(url: str, part: Path, min_bytes: int, max_bytes: int, progress: Progress) -> None:
    have, validator = _resumable(part, max_bytes)
    if have == min_bytes == max_bytes:
        return
    with _open(url, have, validator) as response:
        if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            _check_end(response.headers, part, have)
            return
        offset, total = _extent(response, part, have)
        piece = _read(response)
        if offset == 0 and looks_like_html(piece):
            raise DownloadError(f"{url} sends a web page, not the file: a login, or the file is gone")
        if total is not None and not min_bytes <= total <= max_bytes:
            expected = describe_size(min_bytes, max_bytes)
            raise DownloadError(f"{url} sends {total:,} bytes, and the published file has {expected}")
        if offset == 0:
            _remember_validator(part, response.headers)
        received = offset
        with part.open("ab" if offset else "wb") as file:
            while piece:
                received += len(piece)
                if received > max_bytes:
                    break
                file.write(piece)
                progress(received, total)
                piece = _read(response)
    if received > max_bytes:
        discard(part)
        raise DownloadError(f"{url} sends more than the published file has, {describe_size(min_bytes, max_bytes)}")
    if received < (min_bytes if total is None else total):
        raise _BrokenOffError(f"it ended after {received:,} of {total or min_bytes:,} bytes")


def _open(url: str, have: int, validator: str) -> Any:
    headers = {"User-Agent": "fcnrt", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    opener = urllib.request.OpenerDirector()
    for handler in _HANDLERS:
        opener.add_handler(handler())
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return error
        with error:
            raise _refusal(url, error) from error
    except ValueError as error:  # of a redirect, too
        raise DownloadError(f"{url} is not a URL that can be opened ({error})") from error
    except (OSError, HTTPException) as error:
        raise _failure(url, error) from error


def _read(response: Any) -> bytes:
    """The bytes that have come, at most ``CHUNK``; none at the end."""
    try:
        piece: bytes = response.read1(CHUNK)
    except (OSError, HTTPException) as error:
        raise _failure(response.url, error) from error
    return piece


def _refusal(url: str, error: HTTPError) -> Exception:
    """What an HTTP status that is no success means."""
    status = f"{error.code} {error.reason}"
    if error.code in _RETRIED_STATUS:
        return _BrokenOffError(f"the server says {status}")
    if 300 <= error.code < 400:
        return DownloadError(f"{url} redirects to {error.headers.get('Location')}, which is not followed ({status})")
    if error.code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        return DownloadError(f"{url}: the file is no longer there ({status})")
    return DownloadError(f"{url}: the server refuses ({status})")


def _failure(url: str, error: Exception) -> Exception:
    """What an error of the network means."""
    reason = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
    if isinstance(reason, socket.gaierror):
        return DownloadError(f"{url}: the host is not found ({reason.strerror}); this machine may be offline")
    if isinstance(reason, ssl.SSLCertVerificationError):
        return DownloadError(f"{url}: the server's certificate does not hold ({reason.verify_message})")
    if isinstance(reason, TimeoutError):
        return _BrokenOffError(f"nothing came for {TIMEOUT:g} s")
    return _BrokenOffError(f"the connection failed ({str(reason) or type(reason).__name__})")


def _extent(response: Any, part: Path, have: int) -> tuple[int, int | None]:
    """Where in the file the response begins, and the size of the whole file where it says so."""
    length = response.headers.get("Content-Length", "")
    if response.status != HTTPStatus.PARTIAL_CONTENT:
        return 0, int(length) if length.isdecimal() else None
    match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != have:
        discard(part)
        raise _BrokenOffError("the server sends another part than was asked for")
    if match[2] != "*":
        return have, int(match[2])
    return have, have + int(length) if length.isdecimal() else None


def _check_end(headers: HTTPMessage, part: Path, have: int) -> None:
    """Nothing comes after the bytes that are there: is the file complete, or another one?"""
    match = _UNSATISFIED.fullmatch(headers.get("Content-Range", ""))
    if match is None or int(match[1]) != have:
        discard(part)
        raise _BrokenOffError("the server has another file than the one that was begun")


def _resumable(part: Path, max_bytes: int) -> tuple[int, str]:
    """How many bytes are there to go on from, and what the server called the file that they are of."""
    try:
        have = part.stat().st_size
        validator = _validator_path(part).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return 0, ""
    usable = 0 < have <= max_bytes and validator.isprintable() and 0 < len(validator) <= _MAX_VALIDATOR
    return (have, validator) if usable else (0, "")


def _remember_validator(part: Path, headers: HTTPMessage) -> None:
    etag = headers.get("ETag", "")
    # A weak ETag promises the same meaning, not the same bytes.
    validator = etag if etag.startswith('"') else headers.get("Last-Modified", "")
    part.unlink(missing_ok=True)  # first: whenever the process dies, no bytes lie under another file's name
    _validator_path(part).write_text(validator, encoding="ascii", errors="replace")


def _validator_path(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _silent(received: int, total: int | None) -> None:
    pass


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects within http and https, never from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urlsplit(newurl).scheme
        if scheme not in SCHEMES or (req.type == "https" and scheme != "https"):
            fp.close()
            raise DownloadError(f"{req.full_url} redirects to {newurl}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


# No handlers for file:, ftp: and data:, which urllib's own opener has.
_HANDLERS = (
    urllib.request.ProxyHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPErrorProcessor,
    urllib.request.UnknownHandler,
    _Redirects,
)
