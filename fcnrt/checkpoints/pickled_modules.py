"""Whole pickled modules, ``torch.save(model, path)``: their tensors by name, without any of their classes."""

from __future__ import annotations

from typing import Any, TypeGuard

from fcnrt.checkpoints.pickle_values import Instance
from fcnrt.checkpoints.stored import StoredTensor
from fcnrt.checkpoints.wording import quote
from fcnrt.errors import CheckpointError

MAX_ENTRIES = 100_000
"""Modules, parameters and buffers; a network has thousands. Modules that share modules could name more than fit into
memory."""

MAX_DEPTH = 64
MAX_NAME = 256
"""Letters of a part's whole dotted name: parts could add up to names of kilobytes, a hundred thousand times."""

_OWN, _BUFFERS, _CHILDREN, _NOT_SAVED = "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"
_WRAPPERS = ("module", "_orig_mod")
"""Children of DataParallel and of torch.compile's modules."""


def is_module(value: Any) -> TypeGuard[Instance]:
    """An object with what every ``nn.Module`` has had since torch 0.1."""
    return isinstance(value, Instance) and all(
        isinstance(value.attributes.get(name), dict) for name in (_OWN, _BUFFERS, _CHILDREN)
    )


def class_name(module: Instance) -> str:
    """The class of the network itself, inside what wraps it, such as ``FCN8s``; without its Python module."""
    for _ in range(MAX_DEPTH):
        children = module.attributes[_CHILDREN]
        inner = next((children[name] for name in _WRAPPERS if len(children) == 1 and name in children), None)
        if not is_module(inner):
            break
        module = inner
    return module.cls.rpartition(".")[2]


def state_dict_of(module: Instance) -> dict[str, StoredTensor]:
    """What ``module.state_dict()`` would be.

    Raises:
        CheckpointError: A parameter is not a tensor, or the modules are nested or shared without end.
    """
    tensors: dict[str, StoredTensor] = {}
    waiting: list[tuple[str, Instance, int]] = [("", module, 0)]
    entries = 0
    while waiting:
        prefix, current, depth = waiting.pop()
        entries += 1 + sum(_length(current.attributes.get(kind)) for kind in (_OWN, _BUFFERS, _CHILDREN, _NOT_SAVED))
        if entries > MAX_ENTRIES or depth > MAX_DEPTH:
            raise CheckpointError(
                f"its module has more than {MAX_ENTRIES} parts, or they are nested deeper than {MAX_DEPTH}; "
                "expected a network"
            )
        for name, value in _own_tensors(current).items():
            key = _checked(prefix, name)
            if not isinstance(value, StoredTensor):
                raise CheckpointError(
                    f"{quote(key)} is of type {type(value).__name__}; expected a dense tensor. "
                    "Save model.state_dict() alone"
                )
            tensors[key] = value
        children = current.attributes[_CHILDREN].items()
        found = [(f"{_checked(prefix, name)}.", child, depth + 1) for name, child in children if is_module(child)]
        waiting += reversed(found)  # so that tensors come in the order of state_dict()
    return tensors


def _own_tensors(module: Instance) -> dict[Any, Any]:
    attributes = module.attributes
    left_out = attributes.get(_NOT_SAVED)
    hidden = {name for name in left_out if isinstance(name, str)} if isinstance(left_out, list) else set()
    own = {**attributes[_OWN], **{name: value for name, value in attributes[_BUFFERS].items() if name not in hidden}}
    return {name: value for name, value in own.items() if value is not None}


def _checked(prefix: str, name: Any) -> str:
    if not isinstance(name, str) or len(prefix) + len(name) > MAX_NAME:
        raise CheckpointError(
            f"its module has a part named {quote(name)} in {quote(prefix)}; expected at most {MAX_NAME} letters in all"
        )
    return prefix + name


def _length(parts: Any) -> int:
    return len(parts) if isinstance(parts, (dict, list)) else 0
