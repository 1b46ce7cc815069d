"""From what a training program saved to a plain state dict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fcnrt.checkpoints.noted import Notes, notes_of
from fcnrt.checkpoints.pickle_values import Global, Instance
from fcnrt.checkpoints.pickled_modules import class_name, is_module, state_dict_of
from fcnrt.checkpoints.stored import StoredTensor, check_count
from fcnrt.checkpoints.wording import few, quote
from fcnrt.errors import CheckpointError

WRAPPER_KEYS = (
    "model_state_dict",
    "model_state",
    "state_dict",
    "model",
    "net",
    "network",
    "weights",
    "params",
    "ema",
    "model_ema",
    "ema_model",
    "ema_state_dict",
    "state_dict_ema",
)
"""Where training programs put the weights, in the order in which they are looked for."""

_MAX_DEPTH = 8
_COMPILED = "_orig_mod"
_PARALLEL = "module"


@dataclass(frozen=True)
class StateDict:
    """Tensors by name, the wrapping that was taken off them, and what the training program noted beside them."""

    tensors: Mapping[str, StoredTensor]
    wrapping: tuple[str, ...]
    noted: Notes


def unwrap(payload: Any) -> StateDict:
    """Finds the state dict inside ``payload``, and takes off the prefixes of DataParallel and torch.compile.

    Raises:
        CheckpointError: There is none, or an entry is not a tensor.
    """
    wrapping: list[str] = []
    noted = Notes()
    for _ in range(_MAX_DEPTH):
        if is_module(payload):
            wrapping.append("pickled module")
            noted = Notes(arch=class_name(payload)).merge(noted)
            payload = state_dict_of(payload)
        if not isinstance(payload, dict):
            break
        noted = noted.merge(notes_of(payload))
        inner = next((key for key in WRAPPER_KEYS if _holds_weights(payload.get(key))), None)
        if inner is None:
            break
        wrapping.append(inner)
        payload = payload[inner]
    tensors = _tensors(payload)
    plain: dict[str, StoredTensor] = {}
    for key, tensor in tensors.items():
        name = strip_prefixes(key)
        if name in plain:
            raise CheckpointError(f"it has two tensors for {quote(name)}, with and without a prefix; keep one")
        plain[name] = tensor
    for prefix in (_PARALLEL, _COMPILED):
        if any(prefix in key.split(".") and key not in plain for key in tensors):
            wrapping.append(f"{prefix}.")
    return StateDict(plain, tuple(wrapping), noted)


def _holds_weights(value: Any) -> bool:
    return isinstance(value, dict) or is_module(value)


def strip_prefixes(key: str) -> str:
    """``module.module.fc6.weight`` and ``_orig_mod.module.fc6.weight`` are both ``fc6.weight``.

    ``_orig_mod`` is torch's reserved name and goes wherever it stands; a submodule may be called ``module``,
    so that goes only in front.
    """
    parts = [part for part in key.split(".") if part != _COMPILED]
    first = next((index for index, part in enumerate(parts) if part != _PARALLEL), len(parts) - 1)
    return ".".join(parts[max(first, 0) :])


def _tensors(payload: Any) -> dict[str, StoredTensor]:
    if not isinstance(payload, dict):
        raise CheckpointError(
            f"it holds a {_kind(payload)}; expected a state dict (torch.save(model.state_dict(), path)), bare or "
            f"under one of the keys {', '.join(WRAPPER_KEYS)}"
        )
    tensors = {key: value for key, value in payload.items() if isinstance(value, StoredTensor)}
    if not tensors:
        raise CheckpointError(
            f"it holds no tensors, only the keys {few(payload) or '(none)'}; expected a state dict, bare or "
            f"under one of the keys {', '.join(WRAPPER_KEYS)}"
        )
    check_count(len(tensors))
    for key, value in payload.items():
        if not isinstance(key, str):
            raise CheckpointError(f"its key {quote(key)} is of type {_kind(key)}; expected names of parameters")
        # An entry without a dot cannot be a layer's parameter: some programs put notes beside the weights.
        if key not in tensors and "." in key:
            raise CheckpointError(
                f"{quote(key)} is of type {_kind(value)}; expected a dense tensor. Save model.state_dict() alone"
            )
    return tensors


def _kind(value: Any) -> str:
    """What people call it."""
    if isinstance(value, StoredTensor):
        return "tensor"
    if isinstance(value, (Instance, Global)):
        return quote(value.cls if isinstance(value, Instance) else value.name)
    return type(value).__name__
