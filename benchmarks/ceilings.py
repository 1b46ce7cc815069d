"""What a GPU can do at most, measured as everything else is: a large matrix product, and a large copy.

    python -m benchmarks.ceilings --out DIR      # writes DIR/<machine>/ceilings.json

Rates of data sheets are reached by nothing; these are what the kernels' times are held against.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.environment import commit, environment
from benchmarks.results import RESULTS, SCHEMA_VERSION, write_json

SIDE = 8192
BYTES = 1 << 30
REPEATS = 20


def measure_ceilings(device: torch.device) -> dict[str, float]:
    """FLOP/s of a bfloat16 matrix product on random numbers, and bytes/s read and written by a copy; medians."""
    left, right = (torch.randn(SIDE, SIDE, device=device, dtype=torch.bfloat16) for _ in range(2))
    source = torch.randint(0, 256, (BYTES,), device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    return {
        "matrix_flops_per_second": 2 * SIDE**3 / _seconds(lambda: torch.mm(left, right)),
        "copy_bytes_per_second": 2 * BYTES / _seconds(lambda: target.copy_(source)),
    }


def _seconds(call: Callable[[], object]) -> float:
    for _ in range(3):
        call()
    taken: list[float] = []
    for _ in range(REPEATS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        call()
        end.record()
        end.synchronize()
        taken.append(start.elapsed_time(end) / 1e3)
    return statistics.median(taken)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 2 where there is no GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ceilings", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="default: benchmarks/results")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print(f"torch {torch.__version__} finds no CUDA device here, whose ceilings these are", file=sys.stderr)
        return 2
    found = measure_ceilings(torch.device("cuda", torch.cuda.current_device()))
    surroundings = environment()
    result = {"schema_version": SCHEMA_VERSION, "suite": "ceilings", "commit": commit(), "environment": surroundings}
    path = options.out / surroundings["machine"] / "ceilings.json"
    write_json(path, result | found)
    flops, moved = found["matrix_flops_per_second"] / 1e12, found["copy_bytes_per_second"] / 1e12
    print(f"{path}: {flops:.0f} TFLOP/s, {moved:.2f} TB/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
