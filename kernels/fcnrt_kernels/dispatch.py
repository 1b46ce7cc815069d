"""Where an op runs: Triton on a GPU or in Triton's interpreter, its torch twin elsewhere."""

from __future__ import annotations

import functools
import importlib.util
import os

from torch import Tensor


@functools.cache
def has_triton() -> bool:
    """Whether triton can be imported. It cannot be on macOS, on Windows, or beside some CPU builds of torch."""
    return importlib.util.find_spec("triton") is not None


@functools.cache
def interpreting() -> bool:
    """Whether Triton's interpreter is on. Triton itself reads the variable once, when a kernel is defined."""
    return has_triton() and os.environ.get("TRITON_INTERPRET", "0").lower() in {"1", "true", "yes", "on"}


def runs_triton(x: Tensor) -> bool:
    """Whether an op on ``x`` launches its Triton kernel."""
    return has_triton() and (x.is_cuda or interpreting())
