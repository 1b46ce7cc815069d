"""Files made to run code, or to take memory or time: refused before anything happens."""

from __future__ import annotations

import os
import pickle
import pickletools
import re
import struct
import subprocess
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fcnrt.checkpoints import inert_pickle, pickle_reader, read_checkpoint
from fcnrt.errors import CheckpointError

StateDict = dict[str, Tensor]
Weights = Callable[..., StateDict]
Forge = Callable[..., Path]

pytestmark = pytest.mark.usefixtures("little_memory")


class Call:
    """Pickled as a call of any function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def refuse(path: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, f"{os.name}.system"), (eval, "builtins.eval"), (subprocess.call, "subprocess.call")],
)
@pytest.mark.parametrize("place", ["weights", "optimizer", "key of a wrapper"])
def test_code_is_named_and_not_run(
    weights: Weights, tmp_path: Path, place: str, function: Any, name: str, new: bool
) -> None:
    trace, path = tmp_path / "trace", tmp_path / "model.pt"
    code = f"open({str(trace)!r}, 'w')" if function is eval else f"touch {trace}"
    call = Call(function, code)
    payload: Any = {
        "weights": weights() | {"fc6.bias": call},
        "optimizer": {"state_dict": weights(), "optimizer": {"state": [call]}},
        "key of a wrapper": {"state_dict": call},
    }[place]
    torch.save(payload, path, _use_new_zipfile_serialization=new)
    refuse(path, f"would call '{name}', and fcnrt runs nothing")
    assert not trace.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_bare_pickles_with_code(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps(Call(os.system, f"touch {tmp_path / 'trace'}"), protocol))
    refuse(path, f"would call '{os.name}.system'")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"(S'true'\nios\nsystem\n.", "would call 'os.system'"),
        (b"(cos\nsystem\nS'true'\no.", "would call 'os.system'"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.", "would call 'os.system'"),
        (b"\x80\x02ccollections\nOrderedDict\n)R)R.", "would call 'dict'"),
        (b"\x80\x02csubprocess\nPopen\n)\x81}b.", "holds a 'subprocess.Popen'; expected a state dict"),
        (b"\x80\x04\x8c\x0asubprocess\x8c\x05Popen\x93)}\x92K\x01b.", "holds a 'subprocess.Popen'; expected a state"),
        (b"\x80\x02cfunctools\npartial\ncos\nsystem\n\x85R)R.", "would call 'Instance', and fcnrt runs nothing"),
        (b"\x80\x02cbuiltins\ngetattr\nX\x01\x00\x00\x00aX\x01\x00\x00\x00b\x86R.", "would call 'builtins.getattr'"),
        (b"\x80\x02cos\nsystem\n.", "holds a '(os|posix).system'; expected a state dict"),
        (b"\x80\x02cos\\Q\nsystem\n)R.", r"would call 'os\\\\Q.system'"),
        (b"\x80\x02\x82\x01.", "opcode EXT1 has no place"),
        (b"\x80\x05\x97.", "opcode NEXT_BUFFER has no place"),
    ],
    ids=[
        "INST",
        "OBJ",
        "STACK_GLOBAL",
        "called value",
        "NEWOBJ",
        "NEWOBJ_EX",
        "partial",
        "getattr",
        "reference",
        "escape",
        "EXT1",
        "buffer",
    ],
)
def test_other_ways_to_code(forge_zip: Forge, data: bytes, message: str) -> None:
    refuse(forge_zip(data), message)


def nested(depth: int) -> bytes:
    return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."


def doubled_key(depth: int) -> bytes:
    """``{t: None}`` where t holds the one before twice, ``depth`` times: hashing it would take 2**depth steps."""
    return b"\x80\x02})" + b"2\x86" * depth + b"Ns."


def copied(count: int, copies: int) -> bytes:
    """A list of pairs, made into ``copies`` dictionaries of ``count`` entries."""
    pairs = b"".join(b"(J" + struct.pack("<i", index) + b"Nl" for index in range(count))
    call = b"ccollections\nOrderedDict\n"
    return b"\x80\x02(" + pairs + b"lq\x00" + (call + b"h\x00\x85R") * copies + b"t."


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "NoneType"),
        (b"\x80\x02B\xff\xff\xff\x7fxx.", "truncated or corrupt"),
        (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x0f.", "truncated or corrupt"),
        (b"\x80\x02X\xff\xff\xff\xffxx.", "truncated or corrupt"),
        (b"\x80\x02\x8b\xff\xff\xff\x7fxx.", "truncated or corrupt"),
        (nested(40_000), "holds a list"),
        (doubled_key(60), "a dictionary key is of type tuple"),
        (b"\x80\x02}\x8a\x09" + b"\xff" * 8 + b"\x7fNs.", "a dictionary key is of type int"),
        (copied(10_000, 10_000), "takes more than 90000 steps"),
        (b"\x80\x02" + b"N0" * 50_000 + b"N.", "takes more than 90000 steps"),
        (b"\x80\x02I" + b"9" * 6000 + b"\n.", "truncated or corrupt"),
    ],
    ids=["memo", "bytes", "bytes8", "text", "long", "deep", "hash", "hash2", "copies", "steps", "digits"],
)
def test_pickles_that_ask_for_memory_or_time(
    forge_zip: Forge, forge_legacy: Forge, monkeypatch: pytest.MonkeyPatch, data: bytes, message: str
) -> None:
    monkeypatch.setattr(pickle_reader, "MAX_STEPS", 90_000)  # a million takes seconds
    refuse(forge_zip(data), message)
    refuse(forge_legacy(data), message)


@pytest.mark.parametrize("entry", ["archive/data.pkl", "archive/data/0"])
def test_compressed_zips(weights: Weights, tmp_path: Path, entry: str) -> None:
    torch.save({"model": weights(), "zeros": torch.zeros(2**20)}, tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as source, zipfile.ZipFile(tmp_path / "b.pt", "w") as target:
        for info in source.infolist():
            name = "archive/" + info.filename.partition("/")[2]
            kind = zipfile.ZIP_DEFLATED if name == entry else zipfile.ZIP_STORED
            target.writestr(name, source.read(info), kind)
    refuse(tmp_path / "b.pt", rf"compressed entries \('{entry}'\)")


def test_zip_entries_that_share_bytes(forge_zip: Forge) -> None:
    """Many directory entries for one stored entry: each is honest, their sum is not."""
    path = forge_zip(pickle.dumps({}, 2), {"0": bytes(100_000)})
    with zipfile.ZipFile(path, "a") as archive:
        shared = archive.getinfo("archive/data/0")
        for index in range(1, 50):
            info = zipfile.ZipInfo(f"archive/data/{index}")
            info.header_offset, info.file_size, info.compress_size = shared.header_offset, 100_000, 100_000
            info.CRC, info.external_attr = shared.CRC, shared.external_attr
            archive.filelist.append(info)
        archive._didModify = True  # type: ignore[attr-defined]
    refuse(path, "51 entries that claim 5000.* bytes in a file of")


def test_huge_zip_directory(forge_zip: Forge) -> None:
    path = forge_zip(pickle.dumps({}, 2))
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, len(data) - 10, 2**31)
    path.write_bytes(data)
    refuse(path, "zip directory claims 2147483648 bytes")


# The tensors below are forged: what the pickle says of a tensor, and what the file holds, are two things.


def describe(state: StateDict, forged: Any) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A state dict as the forge wants it: honest descriptions, and the bytes of every storage."""
    tensors, storages = {}, {}
    for index, (key, tensor) in enumerate(state.items()):
        storage = forged.storage(str(index), tensor.numel())
        tensors[key] = forged.tensor(tuple(tensor.shape), tensor.stride(), storage)
        storages[str(index)] = tensor.numpy().tobytes()
    return tensors, storages


def test_the_forge_is_honest_unless_told(weights: Weights, forge_zip: Forge, forge_legacy: Forge, forged: Any) -> None:
    tensors, storages = describe(weights(), forged)
    tail = b"".join(struct.pack("<q", len(data) // 4) + data for data in storages.values())
    for path in (forge_zip(tensors, storages), forge_legacy(tensors, list(storages), tail)):
        read = read_checkpoint(path).state_dict
        assert all(torch.equal(read[key], tensor) for key, tensor in weights().items())


@pytest.mark.parametrize(
    ("shape", "stride", "offset", "numel"),
    [
        ((64, 64, 1, 1), (0, 0, 1, 1), 0, 1),
        ((64, 64, 1, 1), (64, 1, 1, 1), 1, 4096),
        ((64, 64, 1, 1), (65, 1, 1, 1), 0, 4096),
        ((64, 64, 1, 1), (2**40, 1, 1, 1), 0, 4096),
        ((64, 64, 1, 1), (64, 1, 1, 1), 2**40, 4096),
        ((64, 64, 1, 1), (1, 1, 1, 1), 0, 128),
        ((2**47, 2**47, 1, 1), (0, 0, 0, 0), 0, 1),
        ((2**32, 2**32, 1, 1), (2**32, 1, 1, 1), 0, 1),
    ],
    ids=["stride 0", "offset", "stride", "huge stride", "huge offset", "overlap", "huge", "2**64 elements"],
)
def test_tensors_larger_than_their_storage(
    weights: Weights, forge_zip: Forge, forged: Any, shape: Any, stride: Any, offset: int, numel: int
) -> None:
    tensors, storages = describe(weights(), forged)
    tensors["fc7.weight"] = forged.tensor(shape, stride, forged.storage("x", numel), offset)
    path = forge_zip(tensors, storages | {"x": bytes(4 * numel)})
    refuse(path, rf"'fc7.weight': shape {re.escape(str(shape))} with stride .* but its storage has {4 * numel}")


def test_tensors_that_share_storage(weights: Weights, forge_zip: Forge, forged: Any) -> None:
    """Each fits; all of them together would be many times the file."""
    state = weights(num_classes=64)
    largest = max(tensor.numel() for tensor in state.values())
    storage = forged.storage("0", largest)
    tensors = {key: forged.tensor(tuple(value.shape), value.stride(), storage) for key, value in state.items()}
    refuse(forge_zip(tensors, {"0": bytes(4 * largest)}), "more than the .* of the file: they share storage")


def test_zip_storage_of_another_size(weights: Weights, forge_zip: Forge, forged: Any) -> None:
    tensors, storages = describe(weights(), forged)
    refuse(forge_zip(tensors, storages | {"3": bytes(12)}), "storage '3' is declared with 4 bytes, but .* 12 bytes")
    del storages["3"]
    refuse(forge_zip(tensors, storages), "storage '3' .* no such entry")


def test_legacy_storage_that_the_file_does_not_have(forge_legacy: Forge, forged: Any) -> None:
    huge = 2**40
    tensors = {"fc6.weight": forged.tensor((huge,), (1,), forged.storage("0", huge))}
    tail = struct.pack("<q", huge) + bytes(100)
    refuse(forge_legacy(tensors, ["0"], tail), "its tensors need 43980465.* bytes, and the file has .* truncated")


@pytest.mark.parametrize(
    ("keys", "numel", "message"),
    [
        ([], 1, "lists 0 storages, and its tensors name 1"),  # torch.load leaves such a storage uninitialised
        (["0", "0"], 1, "lists 2 storages"),
        (["1"], 1, "or others"),
        ([["0"]], 1, "does not list its storages"),
        (["0"], 5, "storage '0' is declared with 4 bytes, but has 5 elements"),
        (["0"], -1, "but has -1 elements"),
    ],
)
def test_legacy_storages_that_contradict(
    forge_legacy: Forge, forged: Any, keys: list[Any], numel: int, message: str
) -> None:
    tensors = {"fc6.weight": forged.tensor((1,), (1,), forged.storage("0", 1))}
    refuse(forge_legacy(tensors, keys, struct.pack("<q", numel) + bytes(64)), message)


def test_legacy_views_of_a_storage(weights: Weights, forge_legacy: Forge, forged: Any) -> None:
    """torch before 0.4 saved slices of storages this way."""
    state = weights()
    tensors, storages = describe(state, forged)
    bias = state["fc6.bias"]
    view = forged.storage("x", 3 + bias.numel(), ("v", 3, bias.numel()))
    tensors["fc6.bias"] = forged.tensor(tuple(bias.shape), (1,), view)
    storages["x"] = bytes(12) + bias.numpy().tobytes()
    keys = [key for key in storages if key != str(list(state).index("fc6.bias"))]
    tail = b"".join(struct.pack("<q", len(storages[key]) // 4) + storages[key] for key in keys)
    read = read_checkpoint(forge_legacy(tensors, keys, tail)).state_dict
    assert torch.equal(read["fc6.bias"], bias)


def test_other_machines(weights: Weights, forge_zip: Forge, forge_legacy: Forge, forged: Any) -> None:
    tensors, storages = describe(weights(), forged)
    message = "not little-endian; save it on one that is"
    refuse(forge_zip(tensors, storages, extra={"archive/byteorder": b"big"}), message)
    refuse(forge_legacy(tensors, system={"little_endian": False}), message)
    refuse(forge_legacy(tensors, system=[]), "does not follow protocol 1001")


def safetensors(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (safetensors(b"{}", length=9 * 2**20), "header has 9437184 bytes; expected at most 4194304"),
        (safetensors(b"{" + b"[" * 1000 + b"}"), "header is not JSON"),
        (safetensors(b'{"a":' + b"[" * 100_000 + b"}"), "header is not JSON"),
        (safetensors(b'{"__metadata__": {"a": 1}}'), "not a table of strings"),
        (safetensors(b'{"__metadata__": []}'), "not a table of strings"),
        (safetensors(b'{"a": 3}'), "entry for 'a' is wrong"),
        (safetensors(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}}', bytes(8)), "entry for 'a'"),
        (safetensors(b'{"a": {"dtype": "F4", "shape": [1], "data_offsets": [0, 4]}}', bytes(4)), "entry for 'a'"),
        (safetensors(b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]}}', bytes(4)), "entry for 'a'"),
        (safetensors(b'{"a": {"dtype": "U8", "shape": [99999], "data_offsets": [0, 99999]}}', b"."), "truncated"),
        (safetensors(b'{"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}', b"...."), "belong to no tensor"),
        (
            safetensors(
                b'{"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]},'
                b'"b": {"dtype": "U8", "shape": [2], "data_offsets": [1, 3]}}',
                b"...",
            ),
            "overlap or leave gaps",
        ),
    ],
)  # fmt: skip
def test_safetensors_headers(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    refuse(tmp_path / "a.safetensors", message)


def test_names_from_the_file_are_shown_short_and_escaped(tmp_path: Path) -> None:
    torch.save({"\x1b[31m" + "x" * 10_000 + ".weight": torch.zeros(1)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path / "a.pt")
    assert "\x1b" not in str(caught.value) and len(str(caught.value)) < 500


def test_python2_files(forge_legacy: Forge) -> None:
    """Byte strings as keys, an OrderedDict from a list of lists, and modules that have moved since."""
    payload = (
        b"\x80\x02ccollections\nOrderedDict\nq\x00]q\x01]q\x02(U\x05epochK\x03ea\x85R"
        b"U\x04argsc__builtin__\nset\n]\x85Rs."
    )
    refuse(forge_legacy(payload), "no tensors, only the keys 'epoch', 'args'")


def test_every_opcode_is_decided() -> None:
    """A new protocol's opcodes are refused until somebody has looked at them."""
    handled = inert_pickle._ARGUMENTS | inert_pickle._CONSTANTS.keys() | inert_pickle._FRESH.keys()
    handled |= inert_pickle._HANDLERS.keys() | {"PROTO", "FRAME", "STOP"}
    rest = {opcode.name for opcode in pickletools.opcodes} - handled
    assert rest == {"PERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}


def test_ordered_dicts_keep_their_order(tmp_path: Path) -> None:
    torch.save(OrderedDict(b=1, a=2), tmp_path / "a.pt")
    refuse(tmp_path / "a.pt", "only the keys 'b', 'a'")
