"""The container of torch.save since 1.6: an uncompressed zip with one pickle and one entry per storage."""

from __future__ import annotations

import struct
import sys
import zipfile
from collections.abc import Mapping
from io import BufferedReader

from fcnrt.checkpoints.pickle_reader import PickleReader
from fcnrt.checkpoints.stored import Contents
from fcnrt.checkpoints.wording import COPY_AGAIN, few, quote
from fcnrt.errors import CheckpointError

MAX_DIRECTORY = 16 * 2**20
"""Bytes of the zip's directory, which takes some tens of bytes per tensor."""

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_END_SIZE, _END64_SIZE, _LOCATOR64_SIZE = 22, 56, 20


def read_zip(file: BufferedReader, size: int) -> Contents:
    """The object that was saved, its tensors as descriptions.

    Raises:
        CheckpointError: The zip is cut, compressed, inconsistent, or not one of torch.save.
    """
    entries = _entries(file, size)
    prefix = _prefix(entries)
    byteorder = prefix + "byteorder"
    if byteorder in entries and _content(file, entries[byteorder]) != sys.byteorder.encode():
        raise CheckpointError(f"it was saved on a machine that is not {sys.byteorder}-endian; save it on one that is")
    pickle = entries[prefix + "data.pkl"]
    file.seek(_position(file, pickle))
    reader = PickleReader(file, pickle.file_size)
    payload = reader.load()
    for key, storage in reader.storages.items():
        entry = entries.get(f"{prefix}data/{key}")
        found = "no such entry" if entry is None else f"{entry.file_size} bytes"
        if entry is None or entry.file_size != storage.nbytes:
            raise CheckpointError(
                f"storage {quote(key)} is declared with {storage.nbytes} bytes, but the zip has {found}; "
                f"it is damaged or forged. {COPY_AGAIN}"
            )
        storage.position = _position(file, entry)
    return Contents(payload)


def _entries(file: BufferedReader, size: int) -> Mapping[str, zipfile.ZipInfo]:
    _check_directory(file, size)
    try:
        infos = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as error:
        raise CheckpointError(f"its zip directory is damaged ({quote(error)}). {COPY_AGAIN}") from error
    entries = {info.filename: info for info in infos}
    packed = [info.filename for info in infos if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1]
    if packed:
        raise CheckpointError(
            f"its zip has compressed entries ({few(packed)}); torch.save writes none, and they can expand "
            "without bound. Save it again with torch.save"
        )
    total = sum(info.file_size for info in infos)
    if total > size or len(entries) != len(infos) or any(info.file_size != info.compress_size for info in infos):
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
    if tail.startswith(_END64) and tail[_END64_SIZE:].startswith(_LOCATOR64):
        (directory,) = struct.unpack_from("<Q", tail, 40)
    if directory > min(size, MAX_DIRECTORY):
        raise CheckpointError(
            f"its zip directory claims {directory} bytes, and the file has {size}; expected at most "
            f"{MAX_DIRECTORY}. It is damaged or forged. {COPY_AGAIN}"
        )


def _prefix(entries: Mapping[str, zipfile.ZipInfo]) -> str:
    """The folder that torch.save puts everything in, with its slash."""
    roots = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")]
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in entries):
        raise CheckpointError(
            "it is a TorchScript archive, which is a program; expected a state dict. "
            "Save the weights of the original model: torch.save(model.state_dict(), path)"
        )
    if any(name.endswith(".npy") for name in entries):
        raise CheckpointError("it is a NumPy .npz archive; expected a checkpoint of torch.save or a safetensors file")
    if len(roots) != 1:
        raise CheckpointError(
            f"it is a zip archive that torch.save did not write (it holds {few(entries) or 'nothing'}); "
            "expected a checkpoint of torch.save or a safetensors file. If one is inside, unpack it"
        )
    return roots[0]


def _position(file: BufferedReader, entry: zipfile.ZipInfo) -> int:
    """Where an entry's bytes begin, behind its local header."""
    file.seek(max(entry.header_offset, 0))  # a damaged directory can also point before the file
    header = file.read(_LOCAL_HEADER.size)
    if len(header) != _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
        raise CheckpointError(f"its entry {quote(entry.filename)} is not where the zip directory says. {COPY_AGAIN}")
    _, name_size, extra_size = _LOCAL_HEADER.unpack(header)
    return entry.header_offset + _LOCAL_HEADER.size + int(name_size) + int(extra_size)


def _content(file: BufferedReader, entry: zipfile.ZipInfo) -> bytes:
    file.seek(_position(file, entry))
    return file.read(entry.file_size)
