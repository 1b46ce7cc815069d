"""The safetensors container: a length, a JSON header, the bytes of every tensor.

Read here rather than by the safetensors package so that the header is bounded and judged before tensors are
made, and so that tensors own their memory: a mapped file that somebody overwrites takes the process with it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from io import BufferedReader
from types import MappingProxyType
from typing import Any

from fcnrt.checkpoints.stored import (
    ITEMSIZES,
    MAX_DIMS,
    MAX_EXTENT,
    Contents,
    Storage,
    StoredTensor,
    check_count,
    contiguous,
)
from fcnrt.checkpoints.wording import COPY_AGAIN, few, quote
from fcnrt.errors import CheckpointError

MAX_HEADER = 4 * 2**20
"""Bytes; a network's header takes about a hundred per tensor. (The format allows a hundred megabytes.)"""

_LENGTH = 8

DTYPES: Mapping[str, str] = MappingProxyType(
    {
        "BOOL": "bool",
        "U8": "uint8",
        "I8": "int8",
        "I16": "int16",
        "U16": "uint16",
        "I32": "int32",
        "U32": "uint32",
        "I64": "int64",
        "U64": "uint64",
        "F8_E4M3": "float8_e4m3fn",
        "F8_E5M2": "float8_e5m2",
        "F8_E8M0": "float8_e8m0fnu",
        "F16": "float16",
        "BF16": "bfloat16",
        "F32": "float32",
        "F64": "float64",
        "C64": "complex64",
    }
)


def looks_like_safetensors(head: bytes) -> bool:
    """A header that begins with an object, of a length that the format allows."""
    return head[_LENGTH : _LENGTH + 1] == b"{" and _header_size(head) <= 100_000_000


def read_safetensors(file: BufferedReader, size: int) -> Contents:
    """The tensors as descriptions, and the metadata.

    Raises:
        CheckpointError: The file is cut, or its header is not one of safetensors.
    """
    file.seek(0)
    header_size = _header_size(file.read(_LENGTH))
    if header_size > MAX_HEADER:
        raise CheckpointError(f"its header has {header_size} bytes; expected at most {MAX_HEADER} for a network")
    start = _LENGTH + header_size
    if start > size:
        raise CheckpointError(
            f"its header ends at byte {start}, and the file has {size}: it is truncated. {COPY_AGAIN}"
        )
    try:
        header = json.loads(file.read(header_size), object_pairs_hook=_table)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"its header is not JSON ({quote(error)}). {COPY_AGAIN}") from error
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError("its __metadata__ is not a table of strings; expected a file of safetensors")
    check_count(len(header))
    tensors = {key: _tensor(key, entry, start) for key, entry in header.items()}
    _check_layout(tensors, start, size)
    return Contents("safetensors", tensors, metadata)


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of a name that comes twice, readers would disagree about which counts."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise CheckpointError(f"its header has a name twice among {few(table)}; it is damaged or forged. {COPY_AGAIN}")
    return table


def _header_size(head: bytes) -> int:
    return int.from_bytes(head[:_LENGTH], "little")


def _tensor(key: str, entry: Any, start: int) -> StoredTensor:
    try:
        dtype = DTYPES[entry["dtype"]]
        shape = tuple(map(_extent, entry["shape"]))
        begin, end = map(_extent, entry["data_offsets"])
        # The number of extents first: a product of many is a number of megabytes.
        if len(shape) > MAX_DIMS or (nbytes := math.prod(shape) * ITEMSIZES[dtype]) != end - begin:
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"its header's entry for {quote(key)} is wrong; expected a known dtype, a shape and data_offsets "
            f"that fit. {COPY_AGAIN}"
        ) from error
    return contiguous(dtype, shape, Storage(nbytes, start + begin))


def _extent(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MAX_EXTENT:
        raise ValueError
    return value


def _check_layout(tensors: Mapping[str, StoredTensor], start: int, size: int) -> None:
    """The tensors lie one behind the other, and fill the file."""
    position = start
    storages = [tensor.storage for tensor in tensors.values()]
    for storage in sorted(storages, key=lambda storage: (storage.position, storage.nbytes)):
        if storage.position != position:
            raise CheckpointError(f"its tensors overlap or leave gaps; it is damaged or forged. {COPY_AGAIN}")
        position += storage.nbytes
    if position != size:
        cut = "it is truncated" if position > size else "it has bytes that belong to no tensor"
        raise CheckpointError(f"its tensors end at byte {position}, and the file has {size}: {cut}. {COPY_AGAIN}")
