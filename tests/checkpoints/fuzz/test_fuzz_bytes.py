"""Damaged bytes in every kind of file: it is read, or refused with a CheckpointError. Nothing else can happen.

FCNRT_FUZZ=1 (make fuzz) takes every byte; otherwise it is a share of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fcnrt.checkpoints import write_safetensors
from fcnrt.models import create_model
from fcnrt.palettes import voc_palette
from fcnrt.preprocessing import PRESETS
from fcnrt.spec import ModelSpec

Edit = tuple[str, float, float, int, bytes]
Survive = Callable[[bytes], None]

FULL = os.environ.get("FCNRT_FUZZ") == "1"
STEP = 1 if FULL else 37
"""Every how many bytes; a prime, so that it falls on every field of a record."""
KINDS = ("torch zip", "torch legacy", "module", "safetensors", "npz", "npz deflated", "caffemodel")

pytestmark = pytest.mark.usefixtures("little_memory")
# To explain a failure, hypothesis traces every line, which takes the time that is watched.
examples = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], phases=set(Phase) - {Phase.explain, Phase.reuse}
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_byte_flipped(survive: Survive, files: dict[str, bytes], kind: str) -> None:
    """The lowest bit, the highest, all of them."""
    content = files[kind]
    for position in range(0, len(content), STEP):
        byte = content[position]
        for value in (byte ^ 1, byte ^ 0x80, byte ^ 0xFF):
            survive(content[:position] + bytes([value]) + content[position + 1 :])


@pytest.mark.parametrize("kind", KINDS)
def test_every_length(survive: Survive, files: dict[str, bytes], kind: str) -> None:
    content = files[kind]
    for length in range(0, len(content), STEP):
        survive(content[:length])


edits: st.SearchStrategy[list[Edit]] = st.lists(
    st.tuples(
        st.sampled_from(["overwrite", "insert", "delete", "copy", "splice", "cut"]),
        st.floats(0, 1, exclude_max=True),  # where, as a share of the file
        st.floats(0, 1, exclude_max=True),  # where from
        st.integers(1, 40),
        st.binary(min_size=1, max_size=9),
    ),
    min_size=1,
    max_size=4,
)


def damage(content: bytes, other: bytes, edits: list[Edit]) -> bytes:
    """``content`` with pieces of itself and of ``other`` in other places."""
    data = bytearray(content)
    for kind, where, source, length, noise in edits:
        at, origin = int(where * len(data)), int(source * len(data))
        if kind == "overwrite":
            data[at : at + len(noise)] = noise
        elif kind == "insert":
            data[at:at] = noise
        elif kind == "delete":
            del data[at : at + length]
        elif kind == "copy":
            data[at : at + length] = data[origin : origin + length]
        elif kind == "splice":
            origin = int(source * len(other))
            data[at : at + length] = other[origin : origin + 10 * length]
        elif at:
            del data[at:]
    return bytes(data)


@pytest.mark.parametrize("kind", KINDS)
@settings(examples, max_examples=500 if FULL else 30)
@given(edits=edits, other=st.sampled_from(KINDS))
def test_pieces_in_other_places(
    survive: Survive, files: dict[str, bytes], kind: str, edits: list[Edit], other: str
) -> None:
    survive(damage(files[kind], files[other], edits))


@pytest.fixture(scope="module", params=["torch zip", "fcnrt"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole network that is nearly all structure: one class, one channel."""
    path: Path = tmp_path_factory.mktemp("network") / "checkpoint"
    state = create_model("fcn8s", 1, width=1 / 512).state_dict()
    if request.param == "torch zip":
        torch.save({"arch": "FCN8s", "best_mean_iu": 0.5, "model_state_dict": state}, path)
    else:
        spec = ModelSpec("fcn8s", 1, ("a",), voc_palette(1), PRESETS["imagenet"], {"width": 1 / 512})
        write_safetensors(path, spec, state)
    return path.read_bytes()


@settings(examples, max_examples=400 if FULL else 40)
@given(edits=edits)
def test_damaged_networks(survive: Survive, network: bytes, edits: list[Edit]) -> None:
    survive(damage(network, network, edits))


@settings(examples, max_examples=1000 if FULL else 100)
@given(
    head=st.sampled_from(
        [
            *(b"", b"PK\x03\x04", b"PK\x05\x06", b"\x80\x02", b"\x80\x04\x95", b"cos\nsystem\n", b"<html"),
            *(b"\x0a\x01x\xa2\x06", b"\x0a\x01x\x12\x20\x32", b"\xa2\x06\x30\x3a\x20", b"\x08\x07\x12", b"layer {"),
        ]
    ),
    tail=st.binary(max_size=300),
)
def test_noise(survive: Survive, head: bytes, tail: bytes) -> None:
    survive(head + tail)
