"""Ten thousand calls of one model at random sizes: memory stays flat, and the logits stay the reference's.

    make soak                                        # ten thousand calls
    python -m benchmarks.soak --calls 500 --threads 4

Each call has a size of its own, up to 200 on each side, and one or two images. Every tenth call is checked against
the eager reference. Memory is the process's resident set after the first tenth of the calls, and at the end: between
the two nothing may have piled up. The exit status is 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import random
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import nets
from fcnrt.measuring import relative_error

WIDTH = 1 / 16
LARGEST = 200
MOST_IMAGES = 2
CHECKED = 10
"""Every so many calls."""
ERROR_BOUND = 1e-5
GROWTH_BOUND = 48 << 20
"""Bytes by which the resident set may differ: what the allocator holds back for the largest sizes, not what piles up
from call to call, which over ten thousand calls would be more if each left 5 KB."""


@dataclass(frozen=True)
class Soak:
    """What was seen."""

    calls: int
    warm_bytes: int
    end_bytes: int
    worst_error: float
    seconds: float

    @property
    def faults(self) -> list[str]:
        """What is wrong; empty if nothing is."""
        faults = []
        if self.end_bytes - self.warm_bytes > GROWTH_BOUND:
            faults.append(f"memory grew by more than {GROWTH_BOUND / 2**20:.0f} MiB")
        if not self.worst_error <= ERROR_BOUND:
            faults.append(f"logits are off by more than {ERROR_BOUND:.0e}")
        return faults

    def __str__(self) -> str:
        return (
            f"{self.calls} calls in {self.seconds:.0f} s: resident {self.warm_bytes / 2**20:.1f} MiB after a tenth of "
            f"them, {self.end_bytes / 2**20:.1f} MiB at the end; worst relative error {self.worst_error:.1e}"
        )


def soak(calls: int, threads: int, seed: int, dtype: torch.dtype = torch.float32) -> Soak:
    """Call a slim seeded FCN-8s ``calls`` times from ``threads`` threads at once."""
    model = nets.seeded_segmenter(torch.device("cpu"), dtype, WIDTH)
    reference = model.reference
    lock = threading.Lock()
    done, worst, warm = 0, 0.0, 0
    start = time.monotonic()

    def work(worker: int) -> None:
        nonlocal done, worst, warm
        draw = random.Random(seed * 1000 + worker)
        noise = torch.Generator().manual_seed(draw.randrange(1 << 30))
        while True:
            with lock:
                if done >= calls:
                    return
                number = done
                done += 1
                if number == calls // 10:
                    warm = resident_bytes()
            size = draw.randint(1, LARGEST), draw.randint(1, LARGEST)
            x = torch.randn(draw.randint(1, MOST_IMAGES), 3, *size, generator=noise) * 50
            with torch.inference_mode():
                if number % CHECKED:
                    model.predict_labels(x)
                    continue
                error = relative_error(model(x), reference(x))
            with lock:
                # Written so that NaN, which is smaller than nothing, stays.
                worst = worst if error <= worst else error
            if sys.stderr.isatty():
                print(f"\r{number}/{calls}", end="", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(threads) as pool:
        for future in [pool.submit(work, worker) for worker in range(threads)]:
            future.result()
    return Soak(calls, warm, resident_bytes(), worst, time.monotonic() - start)


def resident_bytes() -> int:
    """What the process holds in memory, once all that is free has been given back (Linux)."""
    gc.collect()
    # Of glibc: what it keeps for later depends on the order of sizes, and hides what a leak would add.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 where something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=10_000, metavar="N", help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="that call at once (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the sizes (default: %(default)s)")
    options = parser.parse_args(arguments)
    if min(options.calls, options.threads) < 1:
        parser.error("expected at least one call and one thread")
    seen = soak(options.calls, options.threads, options.seed)
    print(seen)
    for fault in seen.faults:
        print(f"soak: {fault}", file=sys.stderr)
    return 1 if seen.faults else 0


if __name__ == "__main__":
    sys.exit(main())
