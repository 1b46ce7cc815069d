"""Where an op runs: Triton on a GPU or in Triton's interpreter, its torch twin elsewhere."""

from __future__ import annotations

import importlib.util
import os

from torch import Tensor

_HAS_TRITON = importlib.util.find_spec("triton") is not None
# Triton itself reads the variable once, when a kernel is defined. Constants, since torch.compile traces the functions
# below and refuses a cache.
_INTERPRETING = _HAS_TRITON and os.environ.get("TRITON_INTERPRET", "0").lower() in {"1", "true", "yes", "on"}


def has_triton() -> bool:
    """Whether triton can be imported. It cannot be on macOS, on Windows, or beside some CPU builds of torch."""
    return _HAS_TRITON


def interpreting() -> bool:
    """Whether Triton's interpreter is on."""
    return _INTERPRETING


def runs_triton(x: Tensor) -> bool:
    """Whether an op on ``x`` launches its Triton kernel."""
    return has_triton() and (x.is_cuda or interpreting())
