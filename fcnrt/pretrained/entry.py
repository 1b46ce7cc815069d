"""What is known of one published file: where it lies, how it is recognised, what it holds, and who says so."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from fcnrt.errors import InputError
from fcnrt.preprocessing import Normalization

SCHEMES = ("https", "http")
MAX_BYTES = 2 << 30
"""The most bytes taken for a file whose size was never published; the largest FCN, two VGG16 trunks, has 1.1 GB."""

_HEX_DIGITS = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class Digest:
    """A hash of the whole file, or the first digits of one: file names carry the first eight.

    Args:
        algorithm: A whole sha256 or sha1, or an md5, also holds against forgery of a given file. Eight digits hold
            against accidents; against a forger there is the https connection alone.
        value: Hexadecimal, in lower case.
    """

    algorithm: Literal["sha256", "sha1", "md5"]
    value: str

    def __post_init__(self) -> None:
        whole = 2 * hashlib.new(self.algorithm, usedforsecurity=False).digest_size
        if not 8 <= len(self.value) <= whole or not _HEX_DIGITS.issuperset(self.value):
            raise InputError(f"the {self.algorithm} is {self.value!r}; expected 8 to {whole} digits 0-9 and a-f")

    @property
    def is_whole(self) -> bool:
        """Whether all digits are known."""
        return len(self.value) == 2 * hashlib.new(self.algorithm, usedforsecurity=False).digest_size

    def __str__(self) -> str:
        return f"{self.algorithm} {self.value}{'' if self.is_whole else '...'}"


@dataclass(frozen=True)
class Score:
    """What the publisher measured: ``value`` per cent of ``metric``, on the data and in the way of ``protocol``."""

    metric: str
    value: float
    protocol: str


@dataclass(frozen=True)
class Pretrained:
    """One published file.

    Args:
        name: What ``fcnrt pull`` and ``fcnrt.load`` call it.
        url: Where it lies. For a file that only a browser can get (``by_hand``), the page for people.
        file_name: As published; the cache keeps it, since names tell what tensors cannot.
        digest: None where nobody published one; such a file is only taken when the caller says so.
        min_bytes: The file is no smaller,
        max_bytes: and no larger than this; both are the same where the size is known exactly.
        kind: An FCN, or a classifier that can be convolutionalized into one.
        arch: An FCN's name in ``fcnrt.models.ARCHITECTURES``; a classifier's as torchvision has it.
        num_classes: Of the first head, where there are several.
        classes: Their names where this package or the publisher lists them, else empty: the file itself may.
        trained_on: The data set.
        normalization: How the net wants its input; None where nobody says.
        options: Those of the net that its tensors cannot tell, such as ``output_stride``.
        score: As published, None where nothing was.
        licence: As its publisher states it.
        sources: Where each fact is stated: "url", "size", "digest", "score", "licence" and so on.
        by_hand: The host hands the file to a browser alone.
        note: What a user should know before relying on it.

    Raises:
        InputError: The name of the file, its URL or its size is not one that could be fetched.
    """

    name: str
    url: str
    file_name: str
    digest: Digest | None
    kind: Literal["fcn", "classifier"]
    arch: str
    num_classes: int
    trained_on: str
    licence: str
    classes: tuple[str, ...] = ()
    normalization: Normalization | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    score: Score | None = None
    min_bytes: int = 1
    max_bytes: int = MAX_BYTES
    by_hand: bool = False
    note: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.file_name or self.file_name.startswith(".") or set(self.file_name) & set('/\\:\0"'):
            raise InputError(f"{self.name}: the file name is {self.file_name!r}; expected a plain name, no path")
        if urlsplit(self.url).scheme not in SCHEMES:
            raise InputError(f"{self.name}: the URL is {self.url!r}; expected one of https or http")
        if not 1 <= self.min_bytes <= self.max_bytes:
            raise InputError(f"{self.name}: the size is {self.min_bytes} to {self.max_bytes} bytes; expected 1 or more")

    @property
    def size(self) -> int | None:
        """Bytes, where they are known exactly."""
        return self.min_bytes if self.min_bytes == self.max_bytes else None
