"""Reading pickles from a file: within the file's own bytes, and within a fixed number of steps."""

from __future__ import annotations

import pickletools
import warnings
from dataclasses import dataclass
from io import BufferedReader
from typing import IO, Any, cast

from fcnrt.checkpoints.inert_pickle import PickleMachine
from fcnrt.checkpoints.stored import Storage
from fcnrt.checkpoints.wording import COPY_AGAIN, quote
from fcnrt.errors import CheckpointError

MAX_STEPS = 500_000
"""A network with optimizer state takes tens of thousands."""
MAX_BYTES = 2**26
"""Of all pickles of a file: a training history fits, and a string that is as long as the file does not."""


@dataclass
class _Window:
    """The next ``left`` bytes of a file. No more is asked for: reading a file by ``n`` bytes takes ``n`` of memory."""

    file: BufferedReader
    left: int
    taken: int = 0

    def read(self, size: int) -> bytes:
        return self._took(self.file.read(min(size, self.left)))

    def readline(self) -> bytes:
        return self._took(self.file.readline(self.left))

    def tell(self) -> int:
        return self.taken

    def _took(self, data: bytes) -> bytes:
        self.left -= len(data)
        self.taken += len(data)
        return data


class PickleReader:
    """Reads the pickles of one file, one after another, and collects the storages that they declare.

    Args:
        file: Open at the first pickle.
        size: Bytes from there that may belong to pickles.
    """

    def __init__(self, file: BufferedReader, size: int) -> None:
        self.storages: dict[str, Storage] = {}
        self._window = _Window(file, min(size, MAX_BYTES))
        self._steps = 0

    def load(self) -> Any:
        """The next pickle's value.

        Raises:
            CheckpointError: It wants to run something, or is cut or corrupt.
        """
        machine = PickleMachine(self.storages, self._spend)
        try:
            with warnings.catch_warnings():
                # pickletools decodes names like string literals, and warns of escapes that Python does not know.
                warnings.simplefilter("ignore", DeprecationWarning)
                for opcode, arg, _ in pickletools.genops(cast(IO[bytes], self._window)):
                    self._spend(1)
                    machine.step(opcode.name, arg)
            return machine.result()
        except (ValueError, TypeError, LookupError) as error:
            if self._window.taken >= MAX_BYTES:
                raise CheckpointError(
                    f"its pickle has more than {MAX_BYTES} bytes; expected a state dict of tensors. "
                    "Save model.state_dict() alone"
                ) from error
            raise CheckpointError(f"its pickle is truncated or corrupt ({quote(error)}). {COPY_AGAIN}") from error

    def _spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise CheckpointError(
                f"its pickle takes more than {MAX_STEPS} steps; expected a state dict of tensors. "
                "Save model.state_dict() alone"
            )
