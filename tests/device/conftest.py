"""What the checks on a real GPU share. All of them are marked ``gpu``, and skipped where there is none."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="session")
def cuda() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device())


@pytest.fixture(scope="package", autouse=True)
def full_precision() -> Iterator[None]:
    """float32 convolutions that do not round their factors to TF32, and float64 oracles on every core."""
    before, threads = torch.backends.cudnn.allow_tf32, torch.get_num_threads()
    torch.backends.cudnn.allow_tf32 = False
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    yield
    torch.backends.cudnn.allow_tf32 = before
    torch.set_num_threads(threads)
