"""Files of kilobytes that would grow, in memory or in time, with a square or a power of their size; and what they say
to a terminal."""

from __future__ import annotations

import io
import json
import signal
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from torch import Tensor

from fcnrt.checkpoints import pickle_reader, read_checkpoint
from fcnrt.checkpoints.noted import notes_of
from fcnrt.errors import CheckpointError

StateDict = dict[str, Tensor]
Weights = Callable[..., StateDict]
Forge = Callable[..., Path]


class TooSlow(BaseException):
    """No reader may take it for an error of the file."""


@pytest.fixture(autouse=True)
def little_time() -> Iterator[None]:
    """Seconds of processor time, where what is refused too late would take minutes."""
    if not hasattr(signal, "ITIMER_PROF"):
        pytest.skip("needs a timer of processor time")

    def expired(_: int, frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGPROF, expired)
    signal.setitimer(signal.ITIMER_PROF, 20)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


pytestmark = pytest.mark.usefixtures("little_memory")


def refuse(path: Path, message: str, content: bytes | None = None) -> str:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(path)
    return str(caught.value)


def safetensors(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def npz(count: int) -> bytes:
    file, array = io.BytesIO(), io.BytesIO()
    np.save(array, np.zeros(0, np.float32))
    with zipfile.ZipFile(file, "w") as archive:
        for index in range(count):
            archive.writestr(f"{index}.npy", array.getvalue())
    return file.getvalue()


def test_product_of_many_extents(tmp_path: Path) -> None:
    """Each is permitted; all of them together are a number of megabytes."""
    shape = b",".join([b"140737488355328"] * 250_000)
    header = b'{"a": {"dtype": "F32", "shape": [' + shape + b'], "data_offsets": [0, 4]}}'
    refuse(tmp_path / "a", "entry for 'a' is wrong", safetensors(header, bytes(4)))


def test_a_prefix_many_times(tmp_path: Path) -> None:
    torch.save({"module." * 1_000_000 + "fc6.weight": torch.zeros(1)}, tmp_path / "a")
    refuse(tmp_path / "a", r"its 1 tensors \('fc6.weight'\)")


def test_too_many_tensors(tmp_path: Path, forge_zip: Forge, forged: Any) -> None:
    count, message = 8193, "holds 8193 tensors; expected a network's, at most 8192"
    refuse(tmp_path / "a", message, save({str(index): torch.zeros(0) for index in range(count)}))
    refuse(tmp_path / "a", message, npz(count))
    tensor = forged.tensor((1,), (1,), forged.storage("0", 1))
    refuse(forge_zip(dict.fromkeys(map(str, range(count)), tensor), {"0": bytes(4)}), message)


def test_configuration_that_repeats_itself(forge_zip: Forge) -> None:
    """Ten thousand references to a dictionary of ten thousand texts."""
    inner = {str(index): "x" * 99 for index in range(10_000)}
    refuse(forge_zip({"config": {str(index): inner for index in range(10_000)}}), "no tensors, only the keys 'config'")


def test_notes_have_limits() -> None:
    notes = notes_of({"meta": {"CLASSES": ["a"] * 70_000, "PALETTE": [(0, 0, 0)] * 70_000, "cfg": "nyud" * 2**15}})
    assert notes.classes is None and notes.palette is None
    assert len(notes.text) <= 500  # a line; what patterns with a gap take goes with its square
    assert len(notes.merge(notes_of({"args": {str(index): "x" * 99 for index in range(2000)}})).text) == 2**16


def test_names_of_modules_that_add_up(forge_zip: Forge, forged: Any) -> None:
    """Sixty modules with names of 250 letters, one in the other, around tens of thousands of parameters."""
    tensor = forged.tensor((1,), (1,), forged.storage("0", 1))
    module: Any = _module({str(index): tensor for index in range(20_000)})
    for _ in range(60):
        module = _module(children={"n" * 250: module})
    refuse(forge_zip(module, {"0": bytes(4)}), "has a part named 'nnn.*expected at most 256 letters in all")


def _module(parameters: dict[str, Any] | None = None, children: dict[str, Any] | None = None) -> Any:
    module = torch.nn.Module()
    module.__dict__ = {"_parameters": parameters or {}, "_buffers": {}, "_modules": children or {}}
    return module


def test_a_blob_of_many_runs(tmp_path: Path, caffe: Any) -> None:
    """Single numbers between other fields: each run was looked for to the blob's end."""
    blob = (b"\x2d\x00\x00\x80\x3f" + b"\x48\x00") * 90_000
    refuse(tmp_path / "a", "it has 2 runs of float data", caffe.model({"fc6": [blob]}))


def test_pickles_longer_than_any_list_of_weights(forge_zip: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_reader, "MAX_BYTES", 1000)
    refuse(forge_zip(b"\x80\x02V" + b"a" * 2000 + b"\n."), "its pickle has more than 1000 bytes")
    refuse(forge_zip(b"\x80\x02V" + b"a" * 900), "its pickle is truncated or corrupt")


@pytest.mark.parametrize("offset", [2**64 - 1, 2**63, 2**40])
def test_zip_entries_far_away(tmp_path: Path, offset: int) -> None:
    """An offset of zip64; a file cannot even be asked to go to the first two."""
    name, extra = b"a/data.pkl", struct.pack("<HHQ", 1, 8, offset)
    fields = (45, 3, 45, 0, 0, 0, 0, 33, 0, 2, 2, len(name), len(extra), 0, 0, 0, 0, 0xFFFFFFFF)
    directory = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", *fields) + name + extra
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), 30, 0)
    message = "entry 'a/data.pkl' is not where the zip directory says"
    refuse(tmp_path / "a", message, b"PK\x03\x04" + bytes(26) + directory + end)


def test_zip_entries_before_the_file(forge_zip: Forge) -> None:
    path = forge_zip({})
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", content, len(content) - 6)
    struct.pack_into("<I", content, len(content) - 6, start + 40)
    refuse(path, "entry 'archive/data.pkl' is not where the zip directory says", bytes(content))


@pytest.mark.parametrize("place", ["elsewhere", "lost"])
def test_two_zip64_directories(weights: Weights, tmp_path: Path, place: str) -> None:
    """The one that is judged, and the one that the locator leads to; Python's versions differ in which they read."""
    path = tmp_path / "a.pt"
    torch.save(weights(), path)
    content = bytearray(path.read_bytes())
    record, locator = content.index(b"PK\x06\x06"), content.index(b"PK\x06\x07")
    if place == "elsewhere":
        struct.pack_into("<Q", content, locator + 8, record - 100)
    else:
        content[record] = 0
    refuse(path, "zip64 directory is not at its end", bytes(content))


def test_names_that_come_twice(tmp_path: Path) -> None:
    entry = b'"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
    refuse(tmp_path / "a", "has a name twice among 'a'", safetensors(b"{" + entry + b", " + entry + b"}", bytes(4)))


RED = "\x1b[31mred\x9b2J\u202e"


@pytest.mark.parametrize(
    "change",
    [
        {"options": json.dumps({RED: 1})},
        {"options": json.dumps({"width": RED})},
        {"arch": RED},
        {"fcnrt_format": RED * 10_000},
        {"num_classes": RED},
        {"classes": json.dumps([[RED] * 10_000])},
        {"normalization": json.dumps({"name": RED, "order": RED, "scale": RED, "mean": [RED] * 9999, "std": 1})},
        {"heads": json.dumps({RED: ["class 0", "class 1", "class 2"]})},
    ],
    ids=lambda change: next(iter(change)),
)
def test_errors_are_short_and_printable(weights: Weights, tmp_path: Path, change: dict[str, str]) -> None:
    path = tmp_path / "a.safetensors"
    torch.save(weights(), path)
    save_file(weights(), path, metadata=read_checkpoint(path).spec.to_metadata() | change)
    text = refuse(path, "metadata")
    assert text.isprintable() and len(text) < 2500


def test_names_that_are_shown_are_printable(weights: Weights, tmp_path: Path) -> None:
    """``fcnrt info`` and legends show them."""
    path = tmp_path / "a"
    torch.save({"meta": {"CLASSES": [RED, "\ud800", "b\tc"]}, "state_dict": weights()}, path)
    metadata = read_checkpoint(path).spec.to_metadata()
    assert json.loads(metadata["classes"]) == [" [31mred 2J ", " ", "b c"]
    rule = json.loads(metadata["normalization"]) | {"name": RED}
    changed = {"classes": json.dumps([RED, "b", "c"]), "normalization": json.dumps(rule)}
    save_file(weights(), path, metadata=metadata | changed)
    spec = read_checkpoint(path).spec
    assert spec.classes[0] == spec.normalization.name == " [31mred 2J "
