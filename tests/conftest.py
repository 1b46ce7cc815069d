"""What all tests share: one thread, fixed seeds, the tree under test, and who is skipped where."""

from __future__ import annotations

import os
import random
from pathlib import Path

# Before torch is imported, here and in the processes that tests start: the suite already runs one process per
# core, and the number of threads changes the last bits of a sum.
os.environ["OMP_NUM_THREADS"] = "1"

import hypothesis
import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
INTERPRETER_TESTS = ROOT / "tests" / "kernels" / "interpreter"
INTERPRETING = os.environ.get("TRITON_INTERPRET", "0").lower() in {"1", "true", "yes", "on"}

torch.set_num_threads(1)

# Processes that tests start see the tree under test too, from any folder, installed or not.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT), str(ROOT / "kernels"), *filter(None, [os.environ.get("PYTHONPATH")])]
)

# The same examples in every run, so that a failure is there again the next time.
hypothesis.settings.register_profile("fcnrt", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("fcnrt")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    no_gpu = pytest.mark.skip(reason="needs a CUDA device; torch finds none here")
    not_interpreting = pytest.mark.skip(
        reason="runs in Triton's interpreter, in a process of its own: "
        "TRITON_INTERPRET=1 python -m pytest tests/kernels/interpreter"
    )
    interpreting = pytest.mark.skip(
        reason="TRITON_INTERPRET is set: this process is for tests/kernels/interpreter alone"
    )
    for item in items:
        if item.path.is_relative_to(INTERPRETER_TESTS):
            if not INTERPRETING:
                item.add_marker(not_interpreting)
        elif INTERPRETING:
            item.add_marker(interpreting)
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(no_gpu)


@pytest.fixture(autouse=True)
def seed() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
