"""Which container a file is, told by its first bytes and never by its name, and how each one is read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader

from fcnrt.checkpoints.caffemodel import looks_like_caffemodel, read_caffemodel
from fcnrt.checkpoints.safetensors_file import looks_like_safetensors, read_safetensors
from fcnrt.checkpoints.stored import Contents
from fcnrt.checkpoints.torch_legacy import read_legacy
from fcnrt.checkpoints.wording import COPY_AGAIN
from fcnrt.checkpoints.zip_file import read_zip
from fcnrt.errors import CheckpointError

_HEAD = 512
EXPECTED = "Expected a checkpoint of torch.save, a safetensors file, a .caffemodel or chainer's .npz"


@dataclass(frozen=True)
class Kind:
    """One kind of file: how its first bytes look, and what reads it or, of a kind that has no weights to read, why not.

    Args:
        recognize: Given the first bytes.
        read: Given the file and its size.
        refusal: What the file is, and what to do.
    """

    recognize: Callable[[bytes], object]
    read: Callable[[BufferedReader, int], Contents] | None = None
    refusal: str = ""


def _starts(pattern: bytes, flags: int = 0) -> Callable[[bytes], object]:
    return re.compile(pattern, flags).match


KINDS: tuple[Kind, ...] = (
    Kind(_starts(rb"PK\x03\x04|PK\x05\x06"), read_zip),
    # A pickle of protocol 2 to 5, or a protocol-0 pickle that begins with the name of what it would call.
    Kind(_starts(rb"\x80[\x02-\x05]|c[\w.]+\n[\w.]+\n"), read_legacy),
    Kind(looks_like_safetensors, read_safetensors),
    Kind(
        _starts(rb"version https://git-lfs\.github\.com/spec/"),
        refusal="it is a git-lfs pointer, not the checkpoint itself; run git lfs pull",
    ),
    Kind(
        _starts(rb"\s*<(!doctype|html|head|\?xml|!--)", re.IGNORECASE),
        refusal="it is an HTML or XML page, often what a download that needs a login or a confirmation saves; "
        "download the checkpoint again",
    ),
    Kind(_starts(rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd"), refusal="it is a compressed file; decompress it first"),
    Kind(
        _starts(rb".{257}ustar", re.DOTALL),
        refusal="it is a tar archive; unpack it (if torch before 0.1.10 saved it, save it again with a newer one)",
    ),
    Kind(_starts(rb"\x89HDF\r\n"), refusal="it is an HDF5 file (of Keras, perhaps)"),
    Kind(
        _starts(rb"\x93NUMPY"),
        refusal="it is a single NumPy array or a pickled dictionary (of tensorflow-fcn, perhaps)",
    ),
    Kind(
        _starts(rb"\x08[\x01-\x20][\x12\x1a\x22\x28\x32\x3a\x42]"),
        refusal="it is an ONNX model, which is a program; give the checkpoint that it was exported from",
    ),
    Kind(looks_like_caffemodel, read_caffemodel),
    Kind(
        _starts(rb"\s*(#[^\n]*\n\s*)*(name|input|input_dim|input_shape|layers?|state|force_backward)\s*[:{]"),
        refusal="it is a Caffe network's description (.prototxt), which holds no weights; give the .caffemodel",
    ),
)
"""In the order in which they are tried; the refused ones are files that people do pass."""


def read_container(file: BufferedReader, size: int) -> Contents:
    """The contents of a checkpoint file of ``size`` bytes, tensors as descriptions.

    Raises:
        CheckpointError: It is empty, of another kind, or damaged.
    """
    if size == 0:
        raise CheckpointError(f"it is empty (0 bytes); expected a checkpoint. {COPY_AGAIN}")
    file.seek(0)
    head = file.read(_HEAD)
    kind = next((kind for kind in KINDS if kind.recognize(head)), None)
    if kind is None:
        raise CheckpointError(
            f"it is no checkpoint that fcnrt knows (its {size} bytes begin with {head[:16]!r}). {EXPECTED}"
        )
    if kind.read is None:
        raise CheckpointError(f"{kind.refusal}. {EXPECTED}")
    return kind.read(file, size)
