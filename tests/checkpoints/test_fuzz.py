"""Damaged files of every kind: a file is read, or refused with a CheckpointError. Nothing else can happen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fcnrt.checkpoints import read_checkpoint, write_safetensors
from fcnrt.errors import CheckpointError
from fcnrt.models import create_model
from fcnrt.palettes import voc_palette
from fcnrt.preprocessing import PRESETS
from fcnrt.spec import ModelSpec

Edit = tuple[str, float, float, int, bytes]


KINDS = ["torch zip", "torch legacy", "safetensors", "module", "npz", "caffemodel"]


@pytest.fixture(scope="module", params=KINDS)
def original(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, caffe: Any
) -> tuple[Path, bytes]:
    """A file that is nearly all structure: one class, one channel."""
    path = tmp_path_factory.mktemp("fuzz") / "checkpoint"
    state = create_model("fcn8s", 1, width=1 / 512).state_dict()
    if request.param == "module":
        torch.save(create_model("tramac-fcn8s", 1, width=1 / 512), path)
    elif request.param == "npz":
        arrays: dict[str, Any] = {
            key.replace(".weight", "/W").replace(".bias", "/b"): value.numpy() for key, value in state.items()
        }
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)
    elif request.param == "caffemodel":
        path.write_bytes(caffe.model(caffe.by_layer(state)))
    elif request.param == "safetensors":
        write_safetensors(
            path, ModelSpec("fcn8s", 1, ("a",), voc_palette(1), PRESETS["imagenet"], {"width": 1 / 512}), state
        )
    else:
        payload = {"epoch": 2**40, "arch": "FCN8s", "best_mean_iu": np.float64(0.5), "model_state_dict": state}
        torch.save(payload, path, _use_new_zipfile_serialization=request.param == "torch zip")
    return path, path.read_bytes()


edits: st.SearchStrategy[list[Edit]] = st.lists(
    st.tuples(
        st.sampled_from(["overwrite", "insert", "delete", "copy", "cut"]),
        st.floats(0, 1, exclude_max=True),  # where, as a share of the file
        st.floats(0, 1, exclude_max=True),  # where from
        st.integers(1, 40),
        st.binary(min_size=1, max_size=9),
    ),
    min_size=1,
    max_size=4,
)


def damage(content: bytes, edits: list[Edit]) -> bytes:
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
        elif at:
            del data[at:]
    return bytes(data)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(edits=edits)
def test_damaged_files(original: tuple[Path, bytes], edits: list[Edit]) -> None:
    path, content = original
    path.write_bytes(damage(content, edits))
    read_or_refuse(path)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    head=st.sampled_from(
        [
            *(b"", b"PK\x03\x04", b"PK\x05\x06", b"\x80\x02", b"\x80\x04\x95", b"cos\nsystem\n", b"<html"),
            *(b"\x0a\x01x\xa2\x06", b"\x0a\x01x\x12\x20\x32", b"\xa2\x06\x30\x3a\x20", b"\x08\x07\x12", b"layer {"),
        ]
    ),
    tail=st.binary(max_size=300),
)
def test_noise(tmp_path_factory: pytest.TempPathFactory, head: bytes, tail: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes(head + tail)
    read_or_refuse(path)


def read_or_refuse(path: Path) -> None:
    try:
        state = read_checkpoint(path).state_dict
    except CheckpointError as error:
        assert str(error).startswith(f"{path}: ")
    else:
        assert all(tensor.isfinite().all() for tensor in state.values())
