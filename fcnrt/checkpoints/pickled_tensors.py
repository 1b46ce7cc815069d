"""How torch.save pickles tensors: persistent ids for storages, rebuild calls for views of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fcnrt.checkpoints import pickle_names as names
from fcnrt.checkpoints.pickle_values import Global, MalformedError
from fcnrt.checkpoints.stored import ITEMSIZES, MAX_DIMS, MAX_EXTENT, Storage, StoredTensor


@dataclass(frozen=True)
class TypedStorage:
    """A storage, the type of its elements, and the element at which this view of it begins."""

    dtype: str
    storage: Storage
    first: int


def storage_of(persistent_id: Any, storages: dict[str, Storage]) -> TypedStorage | Global:
    """The storage of a persistent id, added to ``storages`` under its key.

    Two kinds exist: ``("storage", class, key, location, numel[, view])``, where old files may have a view
    ``(key, offset, numel)``; and, in old files of whole models, ``("module", class, file, source)``, which is
    the class.
    """
    if not isinstance(persistent_id, tuple) or not 4 <= len(persistent_id) <= 6:
        raise MalformedError("a persistent id is not one of torch.save")
    kind, cls, key = persistent_id[:3]
    if not isinstance(cls, Global):
        raise MalformedError("a persistent id has no class")
    if kind == "module":
        return cls
    dtype = names.STORAGES.get(cls.name)
    if kind != "storage" or dtype is None or not isinstance(key, str) or len(persistent_id) < 5:
        raise MalformedError("a persistent id is not one of torch.save")
    nbytes = _extent(persistent_id[4]) * ITEMSIZES[dtype]
    storage = storages.setdefault(key, Storage(nbytes))
    if storage.nbytes != nbytes:
        raise MalformedError("a storage is declared twice, with two sizes")
    view = persistent_id[5] if len(persistent_id) == 6 else None
    return TypedStorage(dtype, storage, first=0 if view is None else _extent(view[1]))


def tensor_of(function: str, args: tuple[Any, ...]) -> StoredTensor:
    """What ``torch._utils._rebuild_tensor{,_v2,_v3}(storage, offset, shape, stride, ...)`` stands for."""
    if len(args) < 4:
        raise MalformedError("a tensor lacks its shape or its stride")
    view, offset, shape, stride = args[:4]
    if not isinstance(view, TypedStorage):
        raise MalformedError("a tensor has no storage")
    if not isinstance(shape, tuple) or not isinstance(stride, tuple) or len(shape) != len(stride):
        raise MalformedError("a tensor's shape and stride do not match")
    if len(shape) > MAX_DIMS:
        raise MalformedError("a tensor has too many dimensions")
    dtype = view.dtype
    if function.endswith("_v3"):  # the storage is untyped; the element type comes apart
        dtype = args[6].name.removeprefix("torch.") if isinstance(args[6], Global) else ""
        if dtype not in ITEMSIZES:
            raise MalformedError("a tensor has no element type")
    first = view.first + _extent(offset)
    return StoredTensor(dtype, tuple(map(_extent, shape)), tuple(map(_extent, stride)), first, view.storage)


def _extent(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MAX_EXTENT:
        raise MalformedError("a size, stride or offset is not a sensible number")
    return value
