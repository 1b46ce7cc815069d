"""Writers of Caffe's files, by hand: messages of Protocol Buffers around blobs of every age."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor


def varint(value: int) -> bytes:
    """A number of Protocol Buffers: seven bits a byte, the lowest first."""
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def bytes_field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def blob(array: Any, *, style: str = "new") -> bytes:
    """A BlobProto: ``new`` with a shape, ``legacy`` with num, channels, height and width, ``single`` not packed."""
    array = np.asarray(array)
    number, tag, kind = (8, 0x41, "<f8") if array.dtype == np.float64 else (5, 0x2D, "<f4")
    data = array.astype(kind).tobytes()
    if style == "single":
        size = array.dtype.itemsize
        return b"".join(bytes([tag]) + data[at : at + size] for at in range(0, len(data), size)) + bytes_field(
            7, b"".join(b"\x08" + varint(extent) for extent in array.shape)
        )
    packed = bytes_field(number, data)
    if style == "legacy":
        shape = (1,) * (4 - array.ndim) + array.shape
        return b"".join(varint(index << 3) + varint(extent) for index, extent in enumerate(shape, start=1)) + packed
    return bytes_field(7, bytes_field(1, b"".join(map(varint, array.shape)))) + packed


def caffemodel(layers: Mapping[str, Sequence[bytes]], *, v1: bool = False) -> bytes:
    """A NetParameter of named layers with blobs."""
    numbers = {"layers": 2, "name": 4, "blobs": 6} if v1 else {"layers": 100, "name": 1, "blobs": 7}
    net = bytes_field(1, b"FCN") + bytes_field(3, b"data") + b"\x20\x01"  # name, input, input_dim
    for name, blobs in layers.items():
        bottom = bytes_field(2 if v1 else 3, b"data")
        kind = b"\x28\x04" if v1 else bytes_field(2, b"Convolution")
        content = bottom + bytes_field(numbers["name"], name.encode()) + kind
        net += bytes_field(numbers["layers"], content + b"".join(bytes_field(numbers["blobs"], one) for one in blobs))
    return net


def by_layer(state: Mapping[str, Tensor], *, style: str = "new") -> dict[str, list[bytes]]:
    """A state dict as Caffe's layers: weights first, bias second."""
    layers: dict[str, list[bytes]] = {}
    for key in sorted(state, key=lambda key: key.endswith(".bias")):
        layers.setdefault(key.rpartition(".")[0], []).append(blob(state[key].numpy(), style=style))
    return layers
