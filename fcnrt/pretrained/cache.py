"""Where files are kept, and how two processes that want the same one take turns."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from fcnrt.errors import DownloadError

LOCK_TIMEOUT = 3600.0
"""Seconds to wait for another process that pulls the same file."""
LOCK_PAUSE = 0.2


def cache_dir() -> Path:
    """``$FCNRT_CACHE_DIR``, else ``$XDG_CACHE_HOME/fcnrt``, else ``~/.cache/fcnrt``; it need not exist."""
    chosen = os.environ.get("FCNRT_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path("~/.cache").expanduser()) / "fcnrt"


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Hold the lock of ``target``; the system lets go of it if the process dies. ``target.lock`` stays behind.

    Raises:
        DownloadError: The folder or the lock cannot be made, or another process kept it for too long.
    """
    path = target.with_name(target.name + ".lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("ab")
    except OSError as error:
        raise DownloadError(
            f"{target.parent}: cannot be written to ({error.strerror or error}); "
            "choose another folder with FCNRT_CACHE_DIR"
        ) from error
    with stream:
        _wait(stream, path)
        try:
            yield
        finally:
            _unlock(stream)


def _wait(stream: IO[bytes], path: Path) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT
    while True:
        try:
            _try_lock(stream)
            return
        except (BlockingIOError, PermissionError):
            if time.monotonic() >= deadline:
                raise DownloadError(
                    f"{path}: another process has kept the lock for {LOCK_TIMEOUT:g} s; wait for it, or end it"
                ) from None
        except OSError as error:
            raise DownloadError(
                f"{path}: files cannot be locked there ({error.strerror or error}); "
                "choose a folder on a local disk with FCNRT_CACHE_DIR"
            ) from error
        time.sleep(LOCK_PAUSE)


if sys.platform == "win32":
    import msvcrt

    def _try_lock(stream: IO[bytes]) -> None:
        stream.seek(0)
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)

    def _unlock(stream: IO[bytes]) -> None:
        stream.seek(0)
        msvcrt.locking(stream.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(stream: IO[bytes]) -> None:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(stream: IO[bytes]) -> None:
        fcntl.flock(stream, fcntl.LOCK_UN)
