"""Compressed bytes of a file, expanded as far as somebody asks and no further."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from io import BufferedReader

import torch
from torch import Tensor

from fcnrt.checkpoints.stored import Storage
from fcnrt.checkpoints.wording import COPY_AGAIN, quote
from fcnrt.errors import CheckpointError

_CHUNK = 2**16


@dataclass
class DeflatedStorage(Storage):
    """A run of bytes that the file holds deflated.

    Args:
        nbytes: Its length, expanded.
        position: Where the deflated bytes begin.
        packed: How many they are.
        skip: Expanded bytes before this storage begins.
    """

    packed: int = 0
    skip: int = 0

    def read(self, file: BufferedReader, start: int, count: int) -> Tensor:
        """``count`` expanded bytes from ``start``, as uint8.

        Raises:
            CheckpointError: There are fewer, or the compression is damaged.
        """
        data = torch.empty(count, dtype=torch.uint8)
        target = memoryview(data.numpy().data).cast("B")
        skip, filled, left = self.skip + start, 0, self.packed
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        file.seek(self.position)
        try:
            while filled < count and not inflater.eof:
                waiting = inflater.unconsumed_tail
                if not waiting:
                    waiting = file.read(min(_CHUNK, left))
                    left -= len(waiting)
                piece = inflater.decompress(waiting, min(_CHUNK, skip + count - filled))
                if not piece and not waiting:
                    break
                kept = piece[skip:]
                skip -= len(piece) - len(kept)
                target[filled : filled + len(kept)] = kept
                filled += len(kept)
        except zlib.error as error:
            raise CheckpointError(f"its compressed entries are damaged ({quote(error)}). {COPY_AGAIN}") from error
        if filled < count:
            raise CheckpointError(f"a compressed entry ends {count - filled} bytes too early; {COPY_AGAIN.lower()}")
        return data
