"""Zip files of either kind: torch.save's, and NumPy's ``.npz``."""

from __future__ import annotations

from io import BufferedReader

from fcnrt.checkpoints.npz import read_npz
from fcnrt.checkpoints.stored import Contents
from fcnrt.checkpoints.torch_zip import read_torch_zip
from fcnrt.checkpoints.zip_directory import read_directory


def read_zip(file: BufferedReader, size: int) -> Contents:
    """What the zip of ``size`` bytes holds.

    Raises:
        CheckpointError: It is cut, hostile, or neither kind.
    """
    entries = read_directory(file, size)
    if any(name.endswith(".npy") for name in entries):
        return read_npz(file, entries)
    return read_torch_zip(file, entries)
