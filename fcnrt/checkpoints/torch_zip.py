"""What torch.save has written since 1.6: an uncompressed zip with one pickle and one entry per storage."""

from __future__ import annotations

import sys
from io import BufferedReader

from fcnrt.checkpoints.pickle_reader import PickleReader
from fcnrt.checkpoints.stored import Contents
from fcnrt.checkpoints.wording import COPY_AGAIN, few, quote
from fcnrt.checkpoints.zip_directory import Entries, content, packed, position
from fcnrt.errors import CheckpointError


def read_torch_zip(file: BufferedReader, entries: Entries) -> Contents:
    """The object that was saved, its tensors as descriptions.

    Raises:
        CheckpointError: The zip is compressed, inconsistent, or not one of torch.save.
    """
    compressed = packed(entries)
    if compressed:
        raise CheckpointError(
            f"its zip has compressed entries ({few(compressed)}); torch.save writes none, and they can expand "
            "without bound. Save it again with torch.save"
        )
    prefix = _prefix(entries)
    byteorder = prefix + "byteorder"
    if byteorder in entries and content(file, entries[byteorder], limit=16) != sys.byteorder.encode():
        raise CheckpointError(f"it was saved on a machine that is not {sys.byteorder}-endian; save it on one that is")
    pickle = entries[prefix + "data.pkl"]
    file.seek(position(file, pickle))
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
        storage.position = position(file, entry)
    return Contents("torch zip", payload)


def _prefix(entries: Entries) -> str:
    """The folder that torch.save puts everything in, with its slash."""
    roots = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")]
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in entries):
        raise CheckpointError(
            "it is a TorchScript archive, which is a program; expected a state dict. "
            "Save the weights of the original model: torch.save(model.state_dict(), path)"
        )
    if len(roots) != 1:
        raise CheckpointError(
            f"it is a zip archive that torch.save did not write (it holds {few(entries) or 'nothing'}); "
            "expected a checkpoint of torch.save or a safetensors file. If one is inside, unpack it"
        )
    return roots[0]
