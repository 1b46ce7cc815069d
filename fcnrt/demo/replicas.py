"""A few processes that train one net together, each on its own scenes, averaging gradients at every step.

On two cores this beats two threads in one process: the replicas meet once per step, where threads meet in every
layer, which costs most when other programs want the cores too.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, distributed

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Replica:
    """This process: number ``rank`` of ``count``. Rank 0 is the one that was started by the user."""

    rank: int = 0
    count: int = 1

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replaces each float tensor, in place, by its mean over the replicas."""
        if self.count > 1:
            flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
            distributed.all_reduce(flat)
            flat /= self.count
            parts = torch.split(flat, [tensor.numel() for tensor in tensors])
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view(tensor.shape))

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over the replicas."""
        if self.count > 1:
            distributed.all_reduce(tensor)
        return tensor


def run_replicas(count: int, work: Callable[[Replica, Job], Result], job: Job) -> Result:
    """Calls ``work(replica, job)`` in ``count`` processes, this one among them, and returns what it returned here.

    Each uses one thread. ``work`` must be importable and ``job`` picklable.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if count == 1:
            return work(Replica(), job)
        with tempfile.TemporaryDirectory() as folder:
            meeting = (Path(folder) / "replicas").as_uri()
            context = multiprocessing.get_context("spawn")
            others = [
                context.Process(target=_join, args=(meeting, Replica(rank, count), work, job), daemon=True)
                for rank in range(1, count)
            ]
            for process in others:
                process.start()
            try:
                result = _join(meeting, Replica(0, count), work, job)
                for process in others:
                    process.join()
            finally:
                for process in others:
                    process.terminate()
            return result
    finally:
        torch.set_num_threads(threads)


def _join(meeting: str, replica: Replica, work: Callable[[Replica, Job], Result], job: Job) -> Result:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=meeting, rank=replica.rank, world_size=replica.count)
    try:
        return work(replica, job)
    finally:
        distributed.destroy_process_group()
