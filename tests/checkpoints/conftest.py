"""Checkpoints to read: a real, tiny network, and forged files with whatever a test wants in them."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from fcnrt.models import create_model

StateDict = dict[str, Tensor]
Forge = Callable[..., Path]

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


@pytest.fixture
def weights() -> Callable[..., StateDict]:
    """The state dict of a network, every tensor random (an untrained score layer is all zeros)."""

    def make(arch: str = "fcn8s", num_classes: int = 3, width: float = 1 / 64) -> StateDict:
        generator = torch.Generator().manual_seed(0)
        state = create_model(arch, num_classes, width=width).state_dict()
        return {key: torch.randn(value.shape, generator=generator) for key, value in state.items()}

    return make


class ForgedStorage:
    """Pickled as a persistent id that declares ``numel`` floats, whatever is in the file."""

    def __init__(self, key: str, numel: int, view: tuple[str, int, int] | None = None) -> None:
        self.key, self.numel, self.view = key, numel, view


class ForgedTensor:
    """Pickled as torch.save would pickle a float32 view of a storage, of any shape, stride and offset."""

    def __init__(
        self, shape: tuple[int, ...], stride: tuple[int, ...], storage: ForgedStorage, offset: int = 0
    ) -> None:
        self.args: tuple[Any, ...] = (storage, offset, shape, stride, False, OrderedDict())

    def __reduce__(self) -> tuple[Any, ...]:
        return torch._utils._rebuild_tensor_v2, self.args


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, protocol: int, *, legacy: bool) -> None:
        super().__init__(file, protocol=protocol)
        self.legacy = legacy

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, ForgedStorage):
            return None
        declared = ("storage", torch.FloatStorage, obj.key, "cpu", obj.numel)
        return (*declared, obj.view) if self.legacy else declared


def pickled(payload: Any, protocol: int = 2, *, legacy: bool = False) -> bytes:
    file = io.BytesIO()
    _Pickler(file, protocol, legacy=legacy).dump(payload)
    return file.getvalue()


@pytest.fixture
def forge_zip(tmp_path: Path) -> Forge:
    """Writes a zip as torch.save does, around any pickle and any bytes for the storages."""

    def forge(
        payload: Any,
        storages: Mapping[str, bytes] | None = None,
        *,
        compression: int = zipfile.ZIP_STORED,
        extra: Mapping[str, bytes] | None = None,
    ) -> Path:
        path = tmp_path / "forged.pt"
        data = payload if isinstance(payload, bytes) else pickled(payload)
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("archive/data.pkl", data)
            for key, content in (storages or {}).items():
                archive.writestr(f"archive/data/{key}", content)
            for name, content in (extra or {}).items():
                archive.writestr(name, content)
        return path

    return forge


@pytest.fixture
def forge_legacy(tmp_path: Path) -> Forge:
    """Writes a file of torch before 1.6, around any pickle and any bytes for the storages."""

    def forge(
        payload: Any, keys: list[Any] | None = None, tail: bytes = b"", system: Any = None, magic: Any = MAGIC
    ) -> Path:
        path = tmp_path / "forged.pth"
        system = {"protocol_version": PROTOCOL, "little_endian": True} if system is None else system
        data = payload if isinstance(payload, bytes) else pickled(payload, legacy=True)
        head = b"".join(pickle.dumps(value, 2) for value in (magic, PROTOCOL, system))
        path.write_bytes(head + data + pickle.dumps(keys or [], 2) + tail)
        return path

    return forge


@pytest.fixture
def forged() -> SimpleNamespace:
    """The parts that forged files are made of."""
    return SimpleNamespace(storage=ForgedStorage, tensor=ForgedTensor)
