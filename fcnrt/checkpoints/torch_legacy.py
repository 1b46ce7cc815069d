"""The container of torch.save before 1.6: five pickles, then the bytes of every storage, in order.

The hosted pytorch-fcn files are of this kind.
"""

from __future__ import annotations

import sys
from io import BufferedReader

from fcnrt.checkpoints.pickle_reader import PickleReader
from fcnrt.checkpoints.stored import ITEMSIZES, Contents, Storage
from fcnrt.checkpoints.wording import COPY_AGAIN, quote
from fcnrt.errors import CheckpointError

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001


def read_legacy(file: BufferedReader, size: int) -> Contents:
    """The object that was saved, its tensors as descriptions.

    Raises:
        CheckpointError: It is another pickle, or its storages are not all there.
    """
    file.seek(0)
    reader = PickleReader(file, size)
    magic = reader.load()
    if magic != MAGIC:
        raise CheckpointError(
            f"it is a pickle of a {type(magic).__name__} that torch.save did not write; "
            "expected a checkpoint of torch.save or a safetensors file"
        )
    protocol, system = reader.load(), reader.load()
    if protocol != PROTOCOL or not isinstance(system, dict):
        raise CheckpointError(f"it does not follow protocol {PROTOCOL} of torch.save; save it again with a newer torch")
    if system.get("little_endian", True) is not (sys.byteorder == "little"):
        raise CheckpointError(f"it was saved on a machine that is not {sys.byteorder}-endian; save it on one that is")
    payload, keys = reader.load(), reader.load()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise CheckpointError(f"it does not list its storages; it is damaged. {COPY_AGAIN}")
    if len(keys) != len(reader.storages) or set(keys) != set(reader.storages):
        raise CheckpointError(
            f"it lists {len(keys)} storages, and its tensors name {len(reader.storages)}, or others; "
            f"it is damaged or forged. {COPY_AGAIN}"
        )
    _locate(file, size, {key: reader.storages[key] for key in keys})
    return Contents("torch legacy", payload)


def _locate(file: BufferedReader, size: int, storages: dict[str, Storage]) -> None:
    """Finds each storage: eight bytes of element count, then its bytes."""
    position = file.tell()
    needed = position + sum(8 + storage.nbytes for storage in storages.values())
    if needed > size:
        raise CheckpointError(
            f"its tensors need {needed} bytes, and the file has {size}: it is truncated. {COPY_AGAIN}"
        )
    for key, storage in storages.items():
        file.seek(position)
        numel = int.from_bytes(file.read(8), "little", signed=True)
        if storage.nbytes not in [numel * itemsize for itemsize in set(ITEMSIZES.values())]:
            raise CheckpointError(
                f"storage {quote(key)} is declared with {storage.nbytes} bytes, but has {numel} elements; "
                f"it is damaged or forged. {COPY_AGAIN}"
            )
        storage.position = position + 8
        position = storage.position + storage.nbytes
