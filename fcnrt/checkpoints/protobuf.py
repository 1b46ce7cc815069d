"""The wire format of Protocol Buffers, as far as reading weights needs it: fields of one message, in place.

Nothing is read but tags, numbers and what the caller asks for, and nothing recurses: who wants the fields of a message
inside a message says so. Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader

from fcnrt.checkpoints.wording import COPY_AGAIN
from fcnrt.errors import CheckpointError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types; the two of groups are long deprecated, and refused."""

MAX_FIELDS = 200_000
"""A network with a thousand layers takes some tens of thousands."""

_FIXED = {FIXED64: 8, FIXED32: 4}
_LONGEST_VARINT = 10


@dataclass(frozen=True)
class Field:
    """One field: its number, its wire type, where its value lies (``start`` to ``end``), and a varint's value."""

    number: int
    wire: int
    start: int
    end: int
    value: int = 0


class Wire:
    """Reads messages from a file.

    Args:
        file: Open, of any position.
    """

    def __init__(self, file: BufferedReader) -> None:
        self.file = file
        self._fields = 0

    def fields(self, start: int, end: int) -> Fields:
        """The fields of the message in these bytes."""
        return Fields(self, start, end)

    def field(self, start: int, end: int) -> Field:
        """The field that begins at ``start``, of a message that ends at ``end``.

        Raises:
            CheckpointError: It leaves the message, or is none.
        """
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise CheckpointError(f"it has more than {MAX_FIELDS} fields; expected the weights of a network")
        tag, start = self.varint(start, end)
        number, wire = tag >> 3, tag & 7
        value, stop = 0, start
        if wire == VARINT:
            value, stop = self.varint(start, end)
        elif wire == BYTES:
            length, start = self.varint(start, end)
            stop = start + length
        elif wire in _FIXED:
            stop = start + _FIXED[wire]
        else:
            raise CheckpointError(f"it has a field of wire type {wire} at byte {start}; it is damaged. {COPY_AGAIN}")
        if number == 0 or stop > end:
            raise CheckpointError(
                f"a field at byte {start} ends at byte {stop}, and what holds it at {end}: it is truncated or "
                f"damaged. {COPY_AGAIN}"
            )
        return Field(number, wire, start, stop, value)

    def varint(self, start: int, end: int) -> tuple[int, int]:
        """The number that begins at ``start``, and where it ends.

        Raises:
            CheckpointError: It does not end.
        """
        self.file.seek(start)
        data = self.file.read(min(_LONGEST_VARINT, end - start))
        value = 0
        for index, byte in enumerate(data):
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return value, start + index + 1
        raise CheckpointError(f"a number at byte {start} does not end: the file is truncated or damaged. {COPY_AGAIN}")

    def numbers(self, field: Field, limit: int) -> list[int]:
        """The varints of a repeated field, packed or single.

        Raises:
            CheckpointError: More than ``limit`` of them.
        """
        if field.wire == VARINT:
            return [field.value]
        found: list[int] = []
        start = field.start
        while start < field.end:
            value, start = self.varint(start, field.end)
            found.append(value)
            if len(found) > limit:
                raise CheckpointError(f"a list at byte {field.start} has more than {limit} numbers; it is damaged")
        return found

    def text(self, field: Field, limit: int) -> str:
        """A string, cut at ``limit`` bytes."""
        self.file.seek(field.start)
        return self.file.read(min(limit, field.end - field.start)).decode(errors="backslashreplace")


class Fields:
    """Iterates over the fields of a message; ``position``, where the next one begins, may be moved on."""

    def __init__(self, wire: Wire, start: int, end: int) -> None:
        self.position = start
        self._wire, self._end = wire, end

    def __iter__(self) -> Iterator[Field]:
        return self

    def __next__(self) -> Field:
        if self.position >= self._end:
            raise StopIteration
        field = self._wire.field(self.position, self._end)
        self.position = field.end
        return field
