"""Which container a file is, told by its first bytes and never by its name, and how each one is read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader

from fcnrt.checkpoints.safetensors_file import looks_like_safetensors, read_safetensors
from fcnrt.checkpoints.stored import Contents
from fcnrt.checkpoints.torch_legacy import read_legacy
from fcnrt.checkpoints.torch_zip import read_zip
from fcnrt.checkpoints.wording import COPY_AGAIN, quote
from fcnrt.errors import CheckpointError

_HEAD = 512


@dataclass(frozen=True)
class Container:
    """One kind of file: its name, how its first bytes look, what reads it (given the file and its size)."""

    name: str
    recognize: Callable[[bytes], object]
    read: Callable[[BufferedReader, int], Contents]


CONTAINERS: tuple[Container, ...] = (
    Container("torch zip", re.compile(rb"PK\x03\x04|PK\x05\x06").match, read_zip),
    # A pickle of protocol 2 to 5, or a protocol-0 pickle that begins with the name of what it would call.
    Container(
        "torch legacy",
        re.compile(rb"\x80[\x02-\x05]|c[\w.]+\n[\w.]+\n").match,
        read_legacy,
    ),
    Container("safetensors", looks_like_safetensors, read_safetensors),
)

FOREIGN: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (
        re.compile(rb"version https://git-lfs\.github\.com/spec/"),
        "it is a git-lfs pointer, not the checkpoint itself; run git lfs pull",
    ),
    (
        re.compile(rb"\s*<(!doctype|html|head|\?xml|!--)", re.IGNORECASE),
        "it is an HTML or XML page, often what a download that needs a login or a confirmation saves; "
        "download the checkpoint again",
    ),
    (re.compile(rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd"), "it is a compressed file; decompress it first"),
    (
        re.compile(rb".{257}ustar", re.DOTALL),
        "it is a tar archive; unpack it (if torch before 0.1.10 saved it, save it again with a newer one)",
    ),
    (re.compile(rb"\x89HDF\r\n"), "it is an HDF5 file (of Keras, perhaps)"),
)
"""Files that people do pass, and what to tell them."""


def read_container(file: BufferedReader, size: int) -> tuple[str, Contents]:
    """The container of a checkpoint file of ``size`` bytes, and its contents, tensors as descriptions.

    Raises:
        CheckpointError: It is empty, of another kind, or damaged.
    """
    if size == 0:
        raise CheckpointError(f"it is empty (0 bytes); expected a checkpoint. {COPY_AGAIN}")
    file.seek(0)
    head = file.read(_HEAD)
    for container in CONTAINERS:
        if container.recognize(head):
            return container.name, container.read(file, size)
    for pattern, message in FOREIGN:
        if pattern.match(head):
            raise CheckpointError(f"{message}. Expected a checkpoint of torch.save or a safetensors file")
    raise CheckpointError(
        f"it is no checkpoint that fcnrt knows (its {size} bytes begin with {quote(head[:16])}); "
        "expected a file of torch.save or a safetensors file"
    )
