"""Tensors of a file as descriptions: what they are and where their bytes lie, before any of them is read.

Every container yields these, so shapes, types and sizes are judged before memory is taken, and only the
tensors of the network are ever read (not the optimizer state that a training checkpoint carries along).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BufferedReader
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from fcnrt.errors import CheckpointError

ITEMSIZES: Mapping[str, int] = MappingProxyType(
    {
        "bool": 1,
        "uint8": 1,
        "int8": 1,
        "int16": 2,
        "uint16": 2,
        "int32": 4,
        "uint32": 4,
        "int64": 8,
        "uint64": 8,
        "float8_e4m3fn": 1,
        "float8_e4m3fnuz": 1,
        "float8_e5m2": 1,
        "float8_e5m2fnuz": 1,
        "float8_e8m0fnu": 1,
        "float16": 2,
        "bfloat16": 2,
        "float32": 4,
        "float64": 8,
        "complex32": 4,
        "complex64": 8,
        "complex128": 16,
        "qint8": 1,
        "quint8": 1,
        "qint32": 4,
    }
)
"""Bytes per element of every type that a file may mention, by torch's name."""

WEIGHT_DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {
        "float16": torch.float16,
        "bfloat16": torch.bfloat16,
        "float32": torch.float32,
        "float64": torch.float64,
    }
)
"""The types that weights may have."""

MAX_DIMS = 16
MAX_EXTENT = 2**48
"""Larger than any file; keeps the products of hostile shapes small."""
MAX_TENSORS = 2**13
"""Networks have hundreds, with an average of themselves beside them thousands."""


def check_count(count: int) -> None:
    """Refuses a state dict of more tensors than networks have: each costs time, however small it is.

    Raises:
        CheckpointError: There are too many.
    """
    if count > MAX_TENSORS:
        raise CheckpointError(
            f"it holds {count} tensors; expected a network's, at most {MAX_TENSORS}. Save model.state_dict() alone"
        )


@dataclass
class Storage:
    """A run of bytes of the file. Its ``position`` is known once the container has been read to the end."""

    nbytes: int
    position: int = -1

    def read(self, file: BufferedReader, start: int, count: int) -> Tensor:
        """``count`` bytes from ``start``, as uint8.

        Raises:
            CheckpointError: The file ends early.
        """
        data = torch.empty(count, dtype=torch.uint8)
        file.seek(self.position + start)
        got = file.readinto(data.numpy().data)
        if got != count:
            raise CheckpointError(f"the file ends {count - got} bytes too early; copy it again")
        return data


@dataclass(frozen=True)
class StoredTensor:
    """A strided view of a :class:`Storage`.

    Args:
        dtype: A name of :data:`ITEMSIZES`.
        shape: Extents.
        stride: Distances in elements.
        offset: First element, counted in elements from the start of the storage.
        storage: Where the bytes are.
    """

    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    storage: Storage

    @property
    def itemsize(self) -> int:
        return ITEMSIZES[self.dtype]

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def span(self) -> int:
        """Elements from the first to the last one, both included."""
        if self.numel == 0:
            return 0
        return 1 + sum((extent - 1) * step for extent, step in zip(self.shape, self.stride, strict=True))

    def check_fits(self) -> None:
        """Refuses a tensor that claims more elements than its storage has bytes for.

        Raises:
            CheckpointError: The view leaves its storage, or repeats elements (stride 0) to look larger.
        """
        last_byte = (self.offset + self.span) * self.itemsize
        if max(last_byte, self.numel * self.itemsize) > self.storage.nbytes:
            raise CheckpointError(
                f"shape {self.shape} with stride {self.stride} and offset {self.offset} asks for "
                f"{max(last_byte, self.numel * self.itemsize)} bytes of {self.dtype}, "
                f"but its storage has {self.storage.nbytes}; expected one stored value per element. "
                "Save it again as tensor.clone()"
            )

    def read(self, file: BufferedReader) -> Tensor:
        """The tensor, in memory of its own that holds no more than its span.

        Raises:
            CheckpointError: The file ends early.
        """
        data = self.storage.read(file, self.offset * self.itemsize, self.span * self.itemsize)
        return data.view(WEIGHT_DTYPES[self.dtype]).as_strided(self.shape, self.stride)


def contiguous(dtype: str, shape: tuple[int, ...], storage: Storage) -> StoredTensor:
    """All of ``storage`` as a tensor, last axis fastest."""
    stride = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return StoredTensor(dtype, shape, stride, 0, storage)


@dataclass(frozen=True)
class Contents:
    """What a file held: its container's name, an object with :class:`StoredTensor` leaves, and metadata."""

    container: str
    payload: Any
    metadata: Mapping[str, str] = field(default_factory=dict)
