"""Whether the bytes on disk are the published file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fcnrt.errors import DownloadError
from fcnrt.pretrained.entry import Pretrained

_CHUNK = 1 << 20
_HTML = (b"<!doctype html", b"<html", b"<head", b"<?xml")


def looks_like_html(beginning: bytes) -> bool:
    """Whether a file that begins so is a web page: what a login, a captive portal or a virus warning looks like."""
    return beginning[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_HTML)


def digest_of(path: Path, algorithm: str) -> str:
    """The hash of a file, in lower-case hexadecimal.

    Raises:
        OSError: The file cannot be read.
    """
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def check(path: Path, entry: Pretrained) -> None:
    """Find out whether ``path`` has the size and, where one is known, the hash of the published file.

    Raises:
        DownloadError: It does not, or it cannot be read.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if looks_like_html(file.read(1024)):
                raise DownloadError(f"it is a web page of {size:,} bytes")
        if not entry.min_bytes <= size <= entry.max_bytes:
            expected = describe_size(entry.min_bytes, entry.max_bytes)
            raise DownloadError(f"it has {size:,} bytes, and the published file has {expected}")
        if entry.digest is not None:
            found = digest_of(path, entry.digest.algorithm)
            if not found.startswith(entry.digest.value):
                raise DownloadError(
                    f"its {entry.digest.algorithm} is {found}, that of the published file {entry.digest}"
                )
    except OSError as error:
        raise DownloadError(f"it cannot be read ({error.strerror or error})") from error


def describe_size(min_bytes: int, max_bytes: int) -> str:
    """What is known of a size, for a message."""
    if min_bytes == max_bytes:
        return f"{min_bytes:,} bytes"
    return f"{min_bytes:,} to {max_bytes:,} bytes" if min_bytes > 1 else f"at most {max_bytes:,} bytes"
