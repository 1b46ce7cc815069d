"""NumPy's ``.npz``: a zip of arrays, which chainer compresses."""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Mapping
from io import BufferedReader
from types import MappingProxyType

from fcnrt.checkpoints.deflate import DeflatedStorage
from fcnrt.checkpoints.stored import ITEMSIZES, MAX_DIMS, MAX_EXTENT, Contents, Storage, StoredTensor, check_count
from fcnrt.checkpoints.wording import COPY_AGAIN, quote
from fcnrt.checkpoints.zip_directory import Entries, position
from fcnrt.errors import CheckpointError

MAX_HEADER = 4096
"""Bytes; an array's header takes about a hundred."""

DTYPES: Mapping[str, str] = MappingProxyType(
    {
        "b1": "bool",
        "u1": "uint8",
        "i1": "int8",
        "u2": "uint16",
        "i2": "int16",
        "f2": "float16",
        "u4": "uint32",
        "i4": "int32",
        "f4": "float32",
        "u8": "uint64",
        "i8": "int64",
        "f8": "float64",
        "c8": "complex64",
        "c16": "complex128",
    }
)

_HEADER = re.compile(
    rb"\{\s*'descr':\s*'([<>|=]?)(\w+)',\s*'fortran_order':\s*(True|False),\s*'shape':\s*\(([\dL, ]*)\),?\s*\}\s*"
)
_PREFIXES = {1: 10, 2: 12, 3: 12}
"""Format version -> bytes before the header, its length included."""


def read_npz(file: BufferedReader, entries: Entries) -> Contents:
    """The arrays as descriptions, by name.

    Raises:
        CheckpointError: An entry is not an array, or of a type that cannot be read without running code.
    """
    check_count(len(entries))
    arrays = {}
    for name, entry in entries.items():
        try:
            arrays[name.removesuffix(".npy")] = _array(file, entry)
        except CheckpointError as error:
            raise CheckpointError(f"{quote(name)}: {error}") from error.__cause__
    return Contents("npz", arrays)


def _array(file: BufferedReader, entry: zipfile.ZipInfo) -> StoredTensor:
    whole = _storage(file, entry)
    start = whole.read(file, 0, min(whole.nbytes, _PREFIXES[2])).numpy().tobytes()
    prefix = _PREFIXES.get(start[6] if len(start) > 6 else 0)
    if not start.startswith(b"\x93NUMPY") or prefix is None or len(start) < prefix:
        raise CheckpointError("it is not a NumPy array; expected an .npz of arrays alone, as numpy.savez writes it")
    size = int.from_bytes(start[8:prefix], "little")
    if size > MAX_HEADER or prefix + size > whole.nbytes:
        raise CheckpointError(f"its header claims {size} bytes; expected at most {MAX_HEADER}. {COPY_AGAIN}")
    header = _HEADER.fullmatch(whole.read(file, prefix, size).numpy().tobytes())
    if header is None:
        raise CheckpointError("its header is not one of a plain array of numbers; expected float32 weights")
    order, kind, fortran, extents = (group.decode() for group in header.groups())
    if order == ">" or kind not in DTYPES:
        raise CheckpointError(
            f"it has the type {quote(order + kind)}; expected little-endian numbers. Save it as float32"
        )
    shape = tuple(_extent(extent) for extent in extents.replace("L", "").split(",") if extent.strip())
    if len(shape) > MAX_DIMS:
        raise CheckpointError(f"it has {len(shape)} dimensions; expected at most {MAX_DIMS}")
    dtype, data = DTYPES[kind], prefix + size
    nbytes = math.prod(shape) * ITEMSIZES[dtype]
    if data + nbytes != whole.nbytes:
        raise CheckpointError(f"shape {shape} takes {nbytes} bytes, and it has {whole.nbytes - data}. {COPY_AGAIN}")
    axes = shape[::-1] if fortran == "True" else shape
    stride = tuple(math.prod(axes[axis + 1 :]) for axis in range(len(axes)))
    return StoredTensor(dtype, shape, stride[::-1] if fortran == "True" else stride, 0, _behind(whole, data, nbytes))


def _storage(file: BufferedReader, entry: zipfile.ZipInfo) -> Storage:
    """An entry's bytes, expanded or not."""
    start = position(file, entry)
    if entry.compress_type == zipfile.ZIP_STORED:
        return Storage(entry.file_size, start)
    if entry.compress_type == zipfile.ZIP_DEFLATED:
        return DeflatedStorage(entry.file_size, start, entry.compress_size)
    raise CheckpointError(
        f"it is compressed by method {entry.compress_type}; expected none or deflate, as numpy.savez_compressed writes"
    )


def _behind(whole: Storage, start: int, nbytes: int) -> Storage:
    """What follows the header."""
    if isinstance(whole, DeflatedStorage):
        return DeflatedStorage(nbytes, whole.position, whole.packed, start)
    return Storage(nbytes, whole.position + start)


def _extent(text: str) -> int:
    value = int(text) if text.strip().isdigit() and len(text) < 20 else MAX_EXTENT
    if value >= MAX_EXTENT:
        raise CheckpointError("its shape is not a list of sensible numbers")
    return value
