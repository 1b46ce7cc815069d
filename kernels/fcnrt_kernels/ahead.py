"""Compile the tiles of convolutions side by side, so that they can be timed one by one without waiting.

Triton keeps what it compiles on disk, where every process finds it. A tile takes seconds to compile and microseconds
to time: with one process for each core of the host, tuning takes as long as the timing does.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
from collections.abc import Sequence
from typing import TypeAlias

from fcnrt_kernels.conv_problem import ConvConfig, ConvProblem

Pair: TypeAlias = tuple[ConvProblem, ConvConfig]

MOST_PROCESSES = 16
"""Each holds a CUDA context, some hundred megabytes of the GPU's memory."""


def compile_ahead(pairs: Sequence[Pair], device: int, processes: int | None = None) -> None:
    """Compile what ``pairs`` take, in processes of their own. Nothing is raised here: who runs a pair finds out.

    Args:
        pairs: problems and tiles.
        device: index of the GPU to compile for.
        processes: side by side; by default one for each core, and no more than there are pairs.
    """
    if processes is None:
        processes = min(len(os.sched_getaffinity(0)), MOST_PROCESSES)
    processes = min(processes, len(pairs))
    if processes < 2:
        return
    # CUDA does not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(processes, mp_context=context)
    try:
        # A tile that does not run may take its process with it, and the pool then gives up.
        with contextlib.suppress(concurrent.futures.BrokenExecutor):
            done = [pool.submit(_compile, problem, config, device) for problem, config in pairs]
            concurrent.futures.wait(done)
    finally:
        pool.shutdown(cancel_futures=True)  # who interrupts does not wait for the rest


def _compile(problem: ConvProblem, config: ConvConfig, device: int) -> None:
    """Run one tile once: only a launch knows all that the compiler is told."""
    import torch

    from fcnrt_kernels.tune import run_once

    with torch.cuda.device(device), torch.no_grad():
        run_once(problem, config, torch.device("cuda", device))
