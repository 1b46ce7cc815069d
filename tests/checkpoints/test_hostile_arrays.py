"""Hostile ``.npz`` and ``.caffemodel`` files: refused before they take memory or time."""

from __future__ import annotations

import copy
import io
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fcnrt.checkpoints import protobuf, read_checkpoint
from fcnrt.checkpoints import weights as checkpoint_weights
from fcnrt.errors import CheckpointError

StateDict = dict[str, Tensor]
Weights = Callable[..., StateDict]

pytestmark = pytest.mark.usefixtures("little_memory")


def refuse(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


def npy(shape: str = "(1,)", descr: str = "<f4", data: bytes = bytes(4), **changes: Any) -> bytes:
    """A .npy file that says what it is told to."""
    header = changes.get("header", f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}").encode()
    length = changes.get("length", len(header))
    return changes.get("magic", b"\x93NUMPY\x01\x00") + struct.pack("<H", length) + header + data  # type: ignore[no-any-return]


def npz(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def arrays(state: StateDict) -> dict[str, bytes]:
    found = {}
    for key, tensor in state.items():
        file = io.BytesIO()
        np.save(file, tensor.numpy())
        found[key.replace(".weight", "/W").replace(".bias", "/b")] = file.getvalue()
    return found


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (npy(magic=b"\x94NUMPY\x01\x00"), "'a.npy': it is not a NumPy array"),
        (npy(magic=b"\x93NUMPY\x09\x00"), "it is not a NumPy array"),
        (b"", "it is not a NumPy array"),
        (npy(length=5000), "its header claims 5000 bytes; expected at most 4096"),
        (npy(length=400), "its header claims 400 bytes"),
        (npy(header="[" * 4000), "its header is not one of a plain array"),
        (npy(header="{'descr': __import__('os')}"), "its header is not one of a plain array"),
        (npy(descr="|O"), "type '|O'; expected little-endian"),
        (npy(descr=">f4"), "type '>f4'; expected little-endian"),
        (npy(shape="(99999999999999,)"), r"shape \(99999999999999,\) takes .* bytes, and it has 4"),
        (npy(shape="(" + "9" * 3000 + ",)"), "its shape is not a list of sensible numbers"),
        (npy(shape="(" + "1," * 20 + ")"), "it has 20 dimensions; expected at most 16"),
        (npy(shape="(0,)"), "takes 0 bytes, and it has 4"),
    ],
    ids=str,
)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_arrays_that_lie(tmp_path: Path, member: bytes, message: str, compression: int) -> None:
    refuse(tmp_path / "a.npz", npz({"a": member}, compression), message)


def test_fortran_order_and_python2(weights: Weights, tmp_path: Path) -> None:
    state = weights("fcn32s")
    members = arrays(state)
    weight = state["fc6.weight"].numpy()
    header = f"{{'descr': '<f4', 'fortran_order': True, 'shape': ({', '.join(f'{n}L' for n in weight.shape)}), }}"
    members["fc6/W"] = npy(header=header, data=np.asfortranarray(weight).tobytes("F"))
    path = tmp_path / "a.npz"
    path.write_bytes(npz(members))
    assert torch.equal(read_checkpoint(path).state_dict["fc6.weight"], state["fc6.weight"])


def test_array_that_claims_more_than_it_has(weights: Weights, tmp_path: Path) -> None:
    members = arrays(weights("fcn32s")) | {"fc6/W": npy("(16, 1048576, 4, 4)", data=bytes(2**20))}
    refuse(tmp_path / "a.npz", npz(members), r"'fc6/W.npy': shape .* takes 1073741824 bytes, and it has 1048576")


def test_bomb_that_is_a_network(weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Megabytes of zeros, consistent in all that they say: a bilinear kernel, but for its diagonal."""
    monkeypatch.setattr(checkpoint_weights, "SLACK", 2**20)
    members = arrays(weights("fcn32s", num_classes=20, width=1 / 512))
    members["upscore/W"] = npy("(20, 20, 64, 64)", data=bytes(20 * 20 * 64 * 64 * 4))
    refuse(tmp_path / "a.npz", npz(members), "weights claim 65.* more than .*: they are compressed beyond what")


def test_compressed_entries_that_are_damaged(weights: Weights, tmp_path: Path) -> None:
    """Neither the directory nor the array's header shows it."""
    content = bytearray(npz(arrays(weights("fcn32s", num_classes=64))))
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("fc6/W.npy")
    content[entry.header_offset + entry.compress_size - 100] ^= 0xFF
    start = entry.header_offset + 60
    for at in range(start, start + entry.compress_size - 200, 97):
        content[at] ^= 0xFF
    refuse(path, bytes(content), "compressed entr|header is not|not a NumPy array")


def test_bombs_inside_zips(weights: Weights, tmp_path: Path) -> None:
    """A zip in a zip is not opened, and entries that share their bytes claim more than the file has."""
    members = arrays(weights("fcn32s"))
    inner = npz({"bomb": bytes(2**22)})
    refuse(tmp_path / "a.npz", npz(members | {"inner": inner}), "'inner.npy': it is not a NumPy array")
    path = tmp_path / "b.npz"
    path.write_bytes(npz({"0": npy("(262144,)", data=np.random.default_rng(0).bytes(2**20))}))
    with zipfile.ZipFile(path, "a") as archive:
        shared = archive.getinfo("0.npy")
        for index in range(1, 50):
            info = copy.copy(shared)
            info.filename = f"{index}.npy"
            archive.filelist.append(info)
        archive._didModify = True  # type: ignore[attr-defined]
    refuse(path, path.read_bytes(), "50 entries that claim .* bytes in a file of")


def test_zip_methods_and_encryption(tmp_path: Path) -> None:
    refuse(tmp_path / "a.npz", npz({"a": npy()}, zipfile.ZIP_LZMA), "compressed by method 14; expected none or deflate")
    locked = bytearray(npz({"a": npy()}))
    locked[locked.index(b"PK\x01\x02") + 8] |= 1
    refuse(tmp_path / "a.npz", bytes(locked), "encrypted entries .'a.npy'.; decrypt it first")


def net(caffe: Any, *blobs: bytes, name: str = "fc6") -> bytes:
    return caffe.model({name: blobs})  # type: ignore[no-any-return]


def test_blobs_that_lie(caffe: Any, tmp_path: Path) -> None:
    field, varint, path = caffe.field, caffe.varint, tmp_path / "a.caffemodel"
    data, huge = field(5, bytes(8)), varint(2**40)
    for blob, message in (
        (field(7, field(1, varint(3))) + data, r"blob 'fc6/0': its shape is \(3,\), and it holds 2 numbers"),
        (field(7, field(1, huge + huge)) + data, "and it holds 2 numbers of float32"),
        (field(7, field(1, varint(2**63))) + data, "its shape is not a list of sensible numbers"),
        (b"\x08" + varint(2**64 - 1) + data, "its shape is not a list of sensible numbers"),
        (field(7, field(1, b"\x01" * 4000)) + data, "has more than 16 numbers"),
        (field(7, b"\x08\x01" * 40) + data, "its shape is not a list of sensible numbers"),
        (field(7, field(1, varint(2))), "it has 0 runs of float data; expected one"),
        (field(7, field(1, varint(4))) + data + data, "it has 2 runs of float data"),
        (field(7, field(1, varint(2))) + field(5, bytes(9)), "and it holds 2 numbers"),
        (field(7, field(1, b"\xff" * 12)) + data, "does not end"),
        (b"\x2d\x00", "a field at byte .* ends at byte .* truncated or damaged"),
        (b"\x0b" + data, "a field of wire type 3"),
        (b"\x02" + data, "truncated or damaged"),
    ):
        refuse(path, net(caffe, blob), message)


def test_messages_that_lie(caffe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.caffemodel"
    one = caffe.blob(np.zeros(2, np.float32))
    refuse(path, net(caffe, one)[:-3], "a field at byte .* it is truncated or damaged")
    refuse(path, net(caffe, one) + caffe.varint(802) + caffe.varint(2**62), "truncated or damaged")
    refuse(path, net(caffe, one) * 2, "two layers with the blob 'fc6/0'")
    refuse(path, caffe.model({}) + caffe.field(100, b""), "it holds no tensors")
    refuse(path, net(caffe, one, name="x" * 100_000), "'xxxx")
    nested = b""
    for _ in range(2000):
        nested = caffe.field(7, nested)
    refuse(path, net(caffe, nested), "runs of float data")
    monkeypatch.setattr(protobuf, "MAX_FIELDS", 5000)
    refuse(path, net(caffe, b"\x48\x00" * 10_000), "more than 5000 fields")


def test_single_numbers_are_read_in_runs(caffe: Any, tmp_path: Path) -> None:
    """A field for each number: half a million of them, and then another tag."""
    started = time.perf_counter()
    blob = b"\x2d\x00\x00\x80\x3f" * 500_000
    refuse(tmp_path / "a.caffemodel", net(caffe, blob + b"\x48\x00" + blob), "it has 2 runs of float data")
    assert time.perf_counter() - started < 20
    refuse(tmp_path / "a.caffemodel", net(caffe, blob[:-2]), "truncated or damaged")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x08\x07\x12\x07pytorch\x1a\x052.0.0", "it is an ONNX model"),
        (b'name: "FCN"\nlayer {\n  name: "data"\n}', r"network's description \(\.prototxt\)"),
        (b"# FCN-8s\n# more\n\n  layers {\n", r"network's description \(\.prototxt\)"),
        (b"# " * 256, "no checkpoint that fcnrt knows"),
        (b"\x93NUMPY\x01\x00", "a single NumPy array or a pickled dictionary"),
        (b"\x0a\x03a\x01b\xa2\x06\x00", "no checkpoint that fcnrt knows"),
        (b"\x0a\x03abc\xa5\x06\x00", "no checkpoint that fcnrt knows"),
    ],
)
def test_kinds_that_look_alike(tmp_path: Path, content: bytes, message: str) -> None:
    refuse(tmp_path / "a", content, message)
