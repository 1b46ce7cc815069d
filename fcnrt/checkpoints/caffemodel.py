"""Caffe's ``.caffemodel``: a NetParameter, of which the layers' names and blobs are read.

Source: ``src/caffe/proto/caffe.proto`` of BVLC/caffe, for the numbers of the fields; ``Blob::FromProto`` and
``upgrade_proto.cpp`` for what older files mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from typing import cast

import torch
from torch import Tensor

from fcnrt.checkpoints.protobuf import BYTES, FIXED32, FIXED64, VARINT, Field, Wire
from fcnrt.checkpoints.stored import ITEMSIZES, MAX_DIMS, MAX_EXTENT, Contents, Storage, StoredTensor, contiguous
from fcnrt.checkpoints.wording import COPY_AGAIN, quote
from fcnrt.errors import CheckpointError

_MAX_NAME = 256
_CHUNK = 2**20

# NetParameter
_NET_NAME, _V1_LAYERS, _LAYERS = 1, 2, 100
_NET_HEAD = {1: BYTES, 3: BYTES, 4: VARINT, 5: VARINT, 6: BYTES, 7: VARINT, 8: BYTES}
"""What may come before the layers: name, input, input_dim, force_backward, state, debug_info, input_shape."""
# LayerParameter and V1LayerParameter: numbers of the name and of the blobs.
_LAYER_FIELDS = {_LAYERS: (1, 7), _V1_LAYERS: (4, 6)}
# BlobProto
_LEGACY_SHAPE, _DATA, _SHAPE, _DOUBLE_DATA = (1, 2, 3, 4), 5, 7, 8
_WIRES = {_DATA: (FIXED32, "float32"), _DOUBLE_DATA: (FIXED64, "float64")}
# BlobShape
_DIM = 1


@dataclass
class TaggedStorage(Storage):
    """Numbers of which each has its field's tag before it: a repeated field that is not packed.

    Args:
        itemsize: Bytes of a number, without its tag of one byte.
    """

    itemsize: int = 4

    def read(self, file: BufferedReader, start: int, count: int) -> Tensor:
        """``count`` bytes of numbers from ``start``, as uint8; whole numbers."""
        first, items, step = start // self.itemsize, count // self.itemsize, self.itemsize + 1
        data = torch.empty(items, self.itemsize, dtype=torch.uint8)
        for begin in range(0, items, _CHUNK):
            here = min(_CHUNK, items - begin)
            tagged = Storage(here * step, self.position + (first + begin) * step).read(file, 0, here * step)
            data[begin : begin + here] = tagged.view(here, step)[:, 1:]
        return data.view(-1)


def looks_like_caffemodel(head: bytes) -> bool:
    """A message that comes to a layer, after nothing but what a NetParameter may begin with."""
    wire = Wire(cast(BufferedReader, BytesIO(head)))
    try:
        for field in wire.fields(0, 2**63):
            if field.number in _LAYER_FIELDS:
                return field.wire == BYTES
            if _NET_HEAD.get(field.number) != field.wire or field.end > len(head):
                return False
            if field.number == _NET_NAME and not wire.text(field, _MAX_NAME).isprintable():
                return False
    except CheckpointError:
        return False
    return False


def read_caffemodel(file: BufferedReader, size: int) -> Contents:
    """The blobs of all layers as descriptions, named ``layer/0`` (weights), ``layer/1`` (bias).

    Raises:
        CheckpointError: It is cut or damaged, or a blob holds anything but floats that fit its shape.
    """
    wire = Wire(file)
    blobs: dict[str, StoredTensor] = {}
    for layer in wire.fields(0, size):
        if layer.number in _LAYER_FIELDS and layer.wire == BYTES:
            for name, blob in _layer(wire, layer):
                if name in blobs:
                    raise CheckpointError(f"it has two layers with the blob {quote(name)}; it is damaged. {COPY_AGAIN}")
                blobs[name] = blob
    return Contents("caffemodel", blobs)


def _layer(wire: Wire, layer: Field) -> Iterator[tuple[str, StoredTensor]]:
    name_field, blobs_field = _LAYER_FIELDS[layer.number]
    name, blobs = "", []
    for field in wire.fields(layer.start, layer.end):
        if field.wire == BYTES and field.number == name_field:
            name = wire.text(field, _MAX_NAME)
        elif field.wire == BYTES and field.number == blobs_field:
            blobs.append(field)
    for index, blob in enumerate(blobs):
        key = f"{name}/{index}"
        try:
            tensor = _blob(wire, blob)
        except CheckpointError as error:
            raise CheckpointError(f"blob {quote(key)}: {error}") from None
        if index and len(tensor.shape) == 4 and tensor.shape[:3] == (1, 1, 1):
            tensor = contiguous(tensor.dtype, tensor.shape[3:], tensor.storage)  # older Caffe's biases
        yield key, tensor


def _blob(wire: Wire, blob: Field) -> StoredTensor:
    legacy: dict[int, int] = {}
    dims: list[int] = []
    shaped = False
    runs: list[tuple[str, Storage]] = []
    fields = wire.fields(blob.start, blob.end)
    for field in fields:
        if len(runs) > 1:  # looking for the end of each run would take time in proportion to their square
            break
        if field.number in _WIRES:
            item, dtype = _WIRES[field.number]
            if field.wire == BYTES:
                runs.append((dtype, Storage(field.end - field.start, field.start)))
            elif field.wire == item:
                run = _tagged(wire.file, field, blob.end)
                runs.append((dtype, run))
                fields.position = run.position + run.nbytes // run.itemsize * (run.itemsize + 1)
        elif field.number == _SHAPE and field.wire == BYTES:
            shaped = True
            for dim in wire.fields(field.start, field.end):
                if dim.number == _DIM:
                    dims += wire.numbers(dim, MAX_DIMS)
        elif field.number in _LEGACY_SHAPE and field.wire == VARINT:
            legacy[field.number] = field.value
    if legacy and not shaped:
        dims = [legacy.get(number, 0) for number in _LEGACY_SHAPE]
    if len(runs) != 1:
        raise CheckpointError(f"it has {len(runs)} runs of float data; expected one. Save the net again with Caffe")
    if len(dims) > MAX_DIMS or any(dim >= MAX_EXTENT for dim in dims):
        raise CheckpointError("its shape is not a list of sensible numbers")
    dtype, storage = runs[0]
    found = storage.nbytes // ITEMSIZES[dtype]
    if math.prod(dims) != found or storage.nbytes % ITEMSIZES[dtype]:
        raise CheckpointError(f"its shape is {tuple(dims)}, and it holds {found} numbers of {dtype}. {COPY_AGAIN}")
    return contiguous(dtype, tuple(dims), storage)


def _tagged(file: BufferedReader, first: Field, end: int) -> TaggedStorage:
    """The run of single numbers that begins with ``first``, as far as their tags are the same."""
    itemsize = first.end - first.start
    step, position = itemsize + 1, first.start - 1
    count, longest = 0, (end - position) // step
    while count < longest:
        here = min(_CHUNK, longest - count)
        tags = Storage(here * step, position + count * step).read(file, 0, here * step).view(here, step)[:, 0]
        others = (tags != (first.number << 3 | first.wire)).nonzero()
        if len(others):
            return TaggedStorage((count + int(others[0])) * itemsize, position, itemsize)
        count += here
    return TaggedStorage(count * itemsize, position, itemsize)
