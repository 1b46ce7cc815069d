"""Published files in the cache: found there, or fetched and checked first."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from fcnrt.errors import DownloadError
from fcnrt.pretrained import cache
from fcnrt.pretrained.download import Progress, discard, download
from fcnrt.pretrained.entry import Pretrained
from fcnrt.pretrained.registry import find
from fcnrt.pretrained.verification import check, digest_of


def local_path(name: str | Pretrained, *, cache_dir: str | os.PathLike[str] | None = None) -> Path | None:
    """Where the file lies in the cache; None if it is not there. ``pull`` also checks it.

    Raises:
        InputError: No published file has that name.
    """
    path = _target(_entry(name), cache_dir)
    return path if path.is_file() else None


def pull(
    name: str | Pretrained,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    unverified: bool = False,
) -> Path:
    """The published file, fetched into the cache unless it is there. Either way its size and hash are checked.

    Processes that want the same file take turns, so that it is fetched once. A download that broke off is taken up
    again. Files on hosts that ask for a browser are not fetched: put them where the error says, and they are checked.

    Args:
        name: One of ``REGISTRY``, or an entry of your own.
        cache_dir: Instead of ``fcnrt.pretrained.cache_dir()``.
        progress: Called with the bytes that are there and, where known, how many there will be.
        unverified: Also take a file of which nobody published a hash. Its own is noted beside it in ``FILE.sha256``,
            and from then on the file has to match it.

    Raises:
        DownloadError: The file cannot be had, or it is not the published one; the message says how to put it there by
            hand.
        InputError: No published file has that name.
    """
    entry = _entry(name)
    target = _target(entry, cache_dir)
    if target.is_file():
        _check_kept(entry, target, unverified)
        return target
    if entry.by_hand:
        with suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)  # for people to save it in
        raise DownloadError(_by_hand(entry, target))
    if entry.digest is None and not unverified:
        raise DownloadError(
            f"{entry.name}: nobody published a hash of {entry.url}, so nothing can show that what arrives is that "
            f"file. To take it all the same, pass unverified=True (`fcnrt pull {entry.name} --unverified`)"
        )
    with cache.locked(target):
        if target.is_file():
            _check_kept(entry, target, unverified)
        else:
            _fetch(entry, target, progress)
    return target


def _entry(name: str | Pretrained) -> Pretrained:
    return name if isinstance(name, Pretrained) else find(name)


def _target(entry: Pretrained, cache_dir: str | os.PathLike[str] | None) -> Path:
    return (cache.cache_dir() if cache_dir is None else Path(cache_dir)) / entry.file_name


def _fetch(entry: Pretrained, target: Path, progress: Progress | None) -> None:
    part = target.with_name(target.name + ".part")
    try:
        download(entry.url, part, entry.min_bytes, entry.max_bytes, progress)
    except DownloadError as error:
        raise DownloadError(f"{entry.name}: {error}. {_instructions(entry, target)}") from error.__cause__
    try:
        try:
            check(part, entry)
        except DownloadError as error:
            discard(part)
            raise DownloadError(
                f"{entry.name}: what {entry.url} sent is not the published file: {error}. It was removed. "
                f"{_instructions(entry, target)}"
            ) from error.__cause__
        if entry.digest is None:
            _note_digest(target, digest_of(part, "sha256"))
        os.replace(part, target)
        discard(part)
    except OSError as error:
        raise DownloadError(f"{target} cannot be written ({error.strerror or error})") from error


def _check_kept(entry: Pretrained, target: Path, unverified: bool) -> None:
    """Check a file that the cache has: it may have been put there by hand, or the disk may have damaged it."""
    try:
        check(target, entry)
        if entry.digest is None:
            _check_noted(entry, target, unverified)
    except DownloadError as error:
        anew = f"get {entry.url} anew" if entry.by_hand else f"`fcnrt pull {entry.name}` gets it anew"
        raise DownloadError(f"{target} is not {entry.name}: {error}. Delete it, then {anew}") from error.__cause__


def _check_noted(entry: Pretrained, target: Path, unverified: bool) -> None:
    """The same for a file without a published hash: it has to be the one that was accepted."""
    try:
        found = digest_of(target, "sha256")
        noted = _digest_path(target)
        if noted.is_file():
            accepted = noted.read_text(encoding="utf-8", errors="replace").partition(" ")[0]
            if found != accepted:
                raise DownloadError(f"its sha256 is {found}, and the file that was accepted had {accepted}")
        elif unverified:
            _note_digest(target, found)
        else:
            raise DownloadError(
                f"nobody published a hash, so nothing shows that it is. Its sha256 is {found}; to take it all the "
                f"same, pass unverified=True (`fcnrt pull {entry.name} --unverified`)"
            )
    except OSError as error:
        raise DownloadError(f"it cannot be checked ({error.strerror or error})") from error


def _note_digest(target: Path, digest: str) -> None:
    _digest_path(target).write_text(f"{digest}  {target.name}\n", encoding="utf-8")  # as sha256sum writes it


def _digest_path(target: Path) -> Path:
    return target.with_name(target.name + ".sha256")


def _instructions(entry: Pretrained, target: Path) -> str:
    return f"By hand: get {entry.url} elsewhere, put it at {target}, and try again; {_what_is_checked(entry)}"


def _by_hand(entry: Pretrained, target: Path) -> str:
    note = f" ({entry.note})" if entry.note else ""
    return (
        f"{entry.name} lies on a host that gives it to a browser alone. Open {entry.url}{note}, save the file as "
        f"{target}, and try again; {_what_is_checked(entry)}"
    )


def _what_is_checked(entry: Pretrained) -> str:
    return "it has no published hash" if entry.digest is None else f"its {entry.digest} is checked"
