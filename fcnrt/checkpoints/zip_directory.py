"""The directory of a zip file, bounded and judged before any entry is touched."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from io import BufferedReader
from typing import TypeAlias

from fcnrt.checkpoints.wording import COPY_AGAIN, few, quote
from fcnrt.errors import CheckpointError

Entries: TypeAlias = Mapping[str, zipfile.ZipInfo]

MAX_DIRECTORY = 4 * 2**20
"""Bytes of the zip's directory, which takes some tens of bytes per tensor."""

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_END_SIZE, _END64_SIZE, _LOCATOR64_SIZE = 22, 56, 20


def read_directory(file: BufferedReader, size: int) -> Entries:
    """The entries of a zip file of ``size`` bytes, by name; all of them together fit into it.

    Raises:
        CheckpointError: It is cut, too large, encrypted, or contradicts itself.
    """
    _check_directory(file, size)
    try:
        infos = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as error:
        raise CheckpointError(f"its zip directory is damaged ({quote(error)}). {COPY_AGAIN}") from error
    astray = [info.filename for info in infos if not 0 <= info.header_offset < size]
    if astray:
        raise CheckpointError(_astray(astray[0]))
    entries = {info.filename: info for info in infos}
    locked = [info.filename for info in infos if info.flag_bits & 1]
    if locked:
        raise CheckpointError(f"its zip has encrypted entries ({few(locked)}); decrypt it first")
    total = sum(info.compress_size for info in infos)
    stored = [info for info in infos if info.compress_type == zipfile.ZIP_STORED]
    if total > size or len(entries) != len(infos) or any(info.file_size != info.compress_size for info in stored):
        raise CheckpointError(
            f"its zip has {len(infos)} entries that claim {total} bytes in a file of {size}, or that share "
            f"names; it is damaged or forged. {COPY_AGAIN}"
        )
    return entries


def _check_directory(file: BufferedReader, size: int) -> None:
    """The directory is at the very end, where torch.save puts it, and small enough to be read into memory."""
    tail_size = min(size, _END_SIZE + _LOCATOR64_SIZE + _END64_SIZE)
    file.seek(size - tail_size)
    tail = file.read(tail_size).rjust(_END_SIZE + _LOCATOR64_SIZE + _END64_SIZE, b"\0")
    end = tail[-_END_SIZE:]
    if not end.startswith(_END):
        raise CheckpointError(
            f"it is a zip of {size} bytes without a directory at its end: it is truncated, or has something "
            f"appended. {COPY_AGAIN}"
        )
    (directory,) = struct.unpack_from("<I", end, 12)
    if tail[_END64_SIZE:].startswith(_LOCATOR64):
        # zipfile follows the locator, wherever it points; what is judged here must be what it will read.
        (place,) = struct.unpack_from("<Q", tail, _END64_SIZE + 8)
        if place != size - len(tail) or not tail.startswith(_END64):
            raise CheckpointError(f"its zip64 directory is not at its end; it is damaged or forged. {COPY_AGAIN}")
        (directory,) = struct.unpack_from("<Q", tail, 40)
    if directory > min(size, MAX_DIRECTORY):
        raise CheckpointError(
            f"its zip directory claims {directory} bytes, and the file has {size}; expected at most "
            f"{MAX_DIRECTORY}. It is damaged or forged. {COPY_AGAIN}"
        )


def packed(entries: Entries) -> list[str]:
    """Names of the entries that are compressed."""
    return [name for name, entry in entries.items() if entry.compress_type != zipfile.ZIP_STORED]


def position(file: BufferedReader, entry: zipfile.ZipInfo) -> int:
    """Where an entry's bytes begin, behind its local header."""
    file.seek(entry.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) != _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
        raise CheckpointError(_astray(entry.filename))
    _, name_size, extra_size = _LOCAL_HEADER.unpack(header)
    return entry.header_offset + _LOCAL_HEADER.size + int(name_size) + int(extra_size)


def content(file: BufferedReader, entry: zipfile.ZipInfo, limit: int) -> bytes:
    """An uncompressed entry's first bytes, at most ``limit``."""
    file.seek(position(file, entry))
    return file.read(min(entry.file_size, limit))


def _astray(name: str) -> str:
    return f"its entry {quote(name)} is not where the zip directory says. {COPY_AGAIN}"
