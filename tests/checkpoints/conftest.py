"""Checkpoints to read: real, tiny networks, and forged files with whatever a test wants in them."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from fcnrt.models import create_model
from tests.checkpoints.caffe_files import blob, by_layer, bytes_field, caffemodel, varint

StateDict = dict[str, Tensor]
Forge = Callable[..., Path]

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


HEADROOM = 2**28
"""Bytes that a test of hostile files may take: far more than these files hold, far less than they ask for."""


@pytest.fixture
def little_memory() -> Iterator[None]:
    """A refusal that comes too late runs into this limit, and fails its test with another error."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    statm = Path("/proc/self/statm")
    if statm.exists():
        taken = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + HEADROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def weights() -> Callable[..., StateDict]:
    """The state dict of a network, every tensor random (an untrained score layer is all zeros)."""

    def make(arch: str = "fcn8s", num_classes: int = 3, width: float = 1 / 64, **options: Any) -> StateDict:
        generator = torch.Generator().manual_seed(0)
        state = create_model(arch, num_classes, width=width, **options).state_dict()
        return {
            key: torch.rand(value.shape, generator=generator) + 0.5
            if key.endswith("running_var")
            else torch.randn(value.shape, generator=generator)
            for key, value in state.items()
            if not key.endswith("num_batches_tracked")
        }

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


@pytest.fixture(scope="session")
def caffe() -> SimpleNamespace:
    """Writers of Caffe's files, by hand."""
    return SimpleNamespace(model=caffemodel, blob=blob, by_layer=by_layer, field=bytes_field, varint=varint)


@pytest.fixture
def forged() -> SimpleNamespace:
    """The parts that forged files are made of."""
    return SimpleNamespace(storage=ForgedStorage, tensor=ForgedTensor)
