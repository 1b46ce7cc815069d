"""Files that are sound as bytes and wrong in what they say: each record, opcode, message and header of its own kind.

FCNRT_FUZZ=1 (make fuzz) takes many more of them.
"""

from __future__ import annotations

import copy
import io
import json
import os
import pickletools
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from fcnrt.models import create_model

Survive = Callable[[bytes], None]

FULL = os.environ.get("FCNRT_FUZZ") == "1"
STEP = 1 if FULL else 23
"""Every how many changes of the records of a zip."""

pytestmark = pytest.mark.usefixtures("little_memory")
# To explain a failure, hypothesis traces every line, which takes the time that is watched.
examples = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], phases=set(Phase) - {Phase.explain, Phase.reuse}
)

RECORDS = {
    b"PK\x03\x04": "HHHHHIIIHH",
    b"PK\x01\x02": "HHHHHHIIIHHHHHII",
    b"PK\x05\x06": "HHHHIIH",
    b"PK\x06\x06": "QHHIIQQQQ",
    b"PK\x06\x07": "IQI",
}
"""Signature -> the fields behind it (PKWARE's APPNOTE, section 4.3)."""


@pytest.mark.parametrize("kind", ["torch zip", "npz", "npz deflated"])
def test_every_field_of_a_zip(survive: Survive, files: dict[str, bytes], kind: str) -> None:
    content = files[kind]
    changes = []
    for signature, fields in RECORDS.items():
        start = content.find(signature)
        while start >= 0:
            position = start + len(signature)
            for field in fields:
                size = struct.calcsize(field)
                now = int.from_bytes(content[position : position + size], "little")
                most = 256**size - 1
                values = {0, 1, 8, now - 1, now + 1, 2 * now, len(content), most, most >> 1, most - now} - {now}
                changes += [(position, size, value) for value in sorted(values) if 0 <= value <= most]
                position += size
            start = content.find(signature, position)
    for position, size, value in changes[::STEP]:
        survive(content[:position] + value.to_bytes(size, "little") + content[position + size :])


OPCODES = (
    *b"N()]}0012.RboQusaeltd\x81\x85\x86\x87\x88\x8f\x90\x91\x92\x93\x94\x97\x98",
    *(b"h\x00", b"h\x01", b"q\x00", b"r\xff\xff\xff\x7f", b"j\xff\xff\xff\xff", b"p-1\n", b"g9999\n", b"Pid\n"),
    *(b"cos\nsystem\n", b"ios\nsystem\n", b"cbuiltins\neval\n", b"ccollections\nOrderedDict\n", b"cbuiltins\nset\n"),
    *(b"I01\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_tensor_v3\n"),
    *(b"ctorch._utils\n_rebuild_parameter\n", b"X\x03\x00\x00\x00\xed\xa0\x80", b"L9L\n"),
    *(b"ctorch\nFloatStorage\n", b"ctorch\nSize\n", b"ctorch.nn.parameter\nParameter\n", b"X\x07\x00\x00\x00storage"),
    *(b"X\x06\x00\x00\x00module", b"X\x0a\x00\x00\x00state_dict", b"X\x08\x00\x00\x00_modules"),
    *(b"K\x00", b"K\x01", b"M\xff\xff", b"J\xff\xff\xff\xff", b"\x8a\x09" + b"\xff" * 8 + b"\x7f", b"\x8a\x00"),
    *(b"G\x7f\xf8" + bytes(6), b"G\x7f\xf0" + bytes(6), b"F1e999\n", b"S'a'\n", b"V\\ud800\n", b"C\x01x", b"\x82\x01"),
    *(b"\x80\x05", b"\x95" + b"\xff" * 8, b"\x8e" + b"\xff" * 8, b"\x96\x01" + bytes(7) + b"x", b"B\xff\xff\xff\x7f"),
)  # fmt: skip


@st.composite
def pickles(draw: st.DrawFn, pieces: list[bytes]) -> bytes:
    """The opcodes of a pickle, some of them removed, moved, doubled or replaced."""
    pieces = list(pieces)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(pieces) - 1))
        change = draw(st.sampled_from(["insert", "replace", "remove", "double", "move"]))
        piece = draw(st.sampled_from(OPCODES))
        new = bytes([piece]) if isinstance(piece, int) else piece
        if change == "insert":
            pieces.insert(at, new)
        elif change == "replace":
            pieces[at] = new
        elif change == "double":
            pieces[at:at] = pieces[at : at + draw(st.integers(1, 12))]
        elif len(pieces) > 1:
            moved = pieces.pop(at)
            if change == "move":
                pieces.insert(draw(st.integers(0, len(pieces))), moved)
    return b"".join(pieces)


def opcodes(data: bytes) -> list[bytes]:
    places = [place for _, _, place in pickletools.genops(data) if place is not None]
    return [data[start:end] for start, end in zip(places, [*places[1:], len(data)], strict=True)]


def zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def unzipped(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("kind", ["torch zip", "module"])
@settings(examples, max_examples=3000 if FULL else 100)
@given(data=st.data())
def test_opcodes(survive: Survive, files: dict[str, bytes], kind: str, data: st.DataObject) -> None:
    entries = unzipped(files[kind])
    name = next(name for name in entries if name.endswith("data.pkl"))
    survive(zipped(entries | {name: data.draw(pickles(opcodes(entries[name])))}))


@settings(examples, max_examples=2000 if FULL else 100)
@given(data=st.data())
def test_opcodes_of_the_legacy_container(survive: Survive, files: dict[str, bytes], data: st.DataObject) -> None:
    """Five pickles, and the storages behind them."""
    content, pieces = io.BytesIO(files["torch legacy"]), []
    for _ in range(5):
        start = content.tell()
        for _ in pickletools.genops(content):
            pass
        pieces.append(content.getvalue()[start : content.tell()])
    which = data.draw(st.integers(0, 4))
    pieces[which] = data.draw(pickles(opcodes(pieces[which])))
    survive(b"".join(pieces) + content.read())


numbers = st.sampled_from([0, 1, 2, 3, 4, 8, 16, 2**31, 2**40, 2**47, 2**48, 2**63, 2**64 - 1, -1, -(2**63)])
leaves: st.SearchStrategy[Any] = st.one_of(
    numbers,
    st.sampled_from(
        [None, True, 1.5, float("nan"), 1e300, "", "x", "F32", "F64", "BF16", "U8", "F4", 10**400, "\ud800"]
    ),
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner), max_leaves=8
)


@settings(examples, max_examples=2000 if FULL else 150)
@given(data=st.data())
def test_safetensors_headers(survive: Survive, files: dict[str, bytes], data: st.DataObject) -> None:
    content = files["safetensors"]
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    for _ in range(data.draw(st.integers(1, 3))):
        entry = header[data.draw(st.sampled_from(sorted(header)))]
        change = data.draw(st.sampled_from(["field", "extent", "entry", "name", "metadata"]))
        if change == "entry":
            header[data.draw(st.sampled_from(sorted(header)))] = data.draw(values)
        elif change == "name":
            header[data.draw(st.text())] = copy.deepcopy(entry)
        elif change == "metadata":
            header["__metadata__"] = data.draw(values)
        elif isinstance(entry, dict) and change == "field":
            entry[data.draw(st.sampled_from(["dtype", "shape", "data_offsets"]))] = data.draw(values)
        elif isinstance(entry, dict):
            listed = entry.get(data.draw(st.sampled_from(["shape", "data_offsets"])))
            if isinstance(listed, list) and listed:
                listed[data.draw(st.integers(0, len(listed) - 1))] = data.draw(leaves)
    text = json.dumps(header).encode()
    survive(struct.pack("<Q", len(text)) + text + content[start:])


tokens = st.sampled_from(
    [
        *("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "{", "}", "'descr': ", "'<f4'", "'|O'"),
        *("'=f8', ", "'>f4', ", "'fortran_order': ", "True, ", "False, ", "'shape': ", "()", "(1,)", "(0, 9)"),
        *("(-1,)", "(99999999999999999999,)", "(281474976710655, 2)", "(1L,)", "(1" + ", 1" * 20 + ")", ", ", "\0"),
    ]
)  # fmt: skip


@settings(examples, max_examples=2000 if FULL else 100)
@given(
    header=st.lists(tokens, max_size=8).map("".join),
    length=st.none() | st.integers(0, 2**16 - 1),
    version=st.sampled_from([b"\1\0", b"\2\0", b"\3\0", b"\0\0", b"\xff\xff"]),
    data=st.binary(max_size=80),
    compression=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
)
def test_array_headers(
    survive: Survive, header: str, length: int | None, version: bytes, data: bytes, compression: int
) -> None:
    text = header.encode()
    size = (len(text) if length is None else length).to_bytes(2 if version == b"\1\0" else 4, "little")
    array = b"\x93NUMPY" + version + size + text + data
    survive(zipped({"a/W.npy": array, "a/b.npy": array}, compression))


@st.composite
def messages(draw: st.DrawFn, varint: Callable[[int], bytes], depth: int = 0) -> bytes:
    """Fields of Caffe's numbers and of others, in messages inside messages; lengths that are wrong now and then."""
    found = b""
    for _ in range(draw(st.integers(0, 3))):
        number = draw(
            st.sampled_from([(100, 2), (1, 7, 6, 4), (5, 7, 8, 1, 2), (1,)][depth] if depth < 4 else [0, 2**28])
        )
        wire = draw(st.sampled_from([2, 2, 2, 2, 0, 1, 5, 3, 7]))
        found += varint(number << 3 | wire)
        if wire == 2:
            inner = (
                draw(messages(varint, depth + 1)) if depth < 4 and draw(st.booleans()) else draw(st.binary(max_size=16))
            )
            found += varint(draw(st.sampled_from([len(inner)] * 6 + [len(inner) + 1, 2**32, 2**63, 2**64 - 1]))) + inner
        elif wire == 0:
            found += draw(
                st.sampled_from([varint(1), varint(2**40), varint(2**64 - 1), b"\xff" * 10, b"\x80" * 9 + b"\0"])
            )
        else:
            found += bytes(draw(st.sampled_from([8 if wire == 1 else 4, 3])))
    return found


@settings(examples, max_examples=2500 if FULL else 150)
@given(data=st.data())
def test_caffe_messages(survive: Survive, caffe: Any, data: st.DataObject) -> None:
    survive(caffe.model({}) + data.draw(messages(caffe.varint)))


@settings(examples, max_examples=400 if FULL else 30)
@given(data=st.data())
def test_networks_with_other_tensors(survive: Survive, networks: list[dict[str, Tensor]], data: st.DataObject) -> None:
    """What comes after the container: names, dimensions and types that are not those of the network."""
    state = dict(data.draw(st.sampled_from(networks)))
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from(sorted(state)))
        change = data.draw(st.sampled_from(["remove", "shape", "rename", "prefix", "type"]))
        if change == "remove" and len(state) > 1:
            del state[key]
        elif change == "shape":
            state[key] = torch.zeros(data.draw(st.lists(st.sampled_from([0, 1, 2, 3]), max_size=5)))
        elif change == "rename":
            other = data.draw(st.sampled_from(sorted(state)))
            state[
                data.draw(st.sampled_from([other + ".0", f"{other.partition('.')[0]}.0.weight", "bn.running_mean"]))
            ] = state[key]
        elif change == "prefix":
            prefix = data.draw(st.sampled_from(["module.", "model.", "ema.", "_orig_mod.", "features.", "criterion."]))
            state = {prefix + name: tensor.clone() for name, tensor in state.items()}
        else:
            state[key] = state[key].to(data.draw(st.sampled_from([torch.float16, torch.int64, torch.bool])))
    survive(save({name: tensor.clone() for name, tensor in state.items()}))


@pytest.fixture(scope="module")
def networks() -> list[dict[str, Tensor]]:
    archs = (
        "fcn8s",
        "fcn-alexnet",
        "fcn-googlenet",
        "siftflow-fcn16s",
        "tramac-fcn8s",
        "pochih-fcns",
        "mmseg-fcn-resnet50",
    )
    return [create_model(arch, 1, width=1 / 512).state_dict() for arch in archs]
