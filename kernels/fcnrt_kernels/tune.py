"""Measure the valid tiles of a convolution on the GPU at hand, beside cuDNN, and keep what was found.

    python -m fcnrt_kernels.tune 1x502x502x64x64x3+pool 1x16x16x512x4096x7    # batch, rows, columns, in, out, kernel
    python -m fcnrt_kernels.tune --dtype float16 --out table.json 16x70x70x256x512x3

Nothing is measured when a model is loaded: the table is read then (``tables.py``). Problems that it has already are
kept, unless ``--again`` is given, and it is written after each problem, so that a run that was cut short goes on where
it was.
"""

from __future__ import annotations

import argparse
import functools
import math
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from fcnrt_kernels import gpu, tables
from fcnrt_kernels.ahead import compile_ahead
from fcnrt_kernels.conv import out_shape, run
from fcnrt_kernels.conv_config import candidates, cycles
from fcnrt_kernels.conv_problem import ITEM_SIZES, ConvConfig, ConvProblem, Target
from fcnrt_kernels.tables import Measured

Measure = Callable[[ConvProblem, ConvConfig | None], float]
"""Seconds of a problem in a configuration, or in cuDNN for None; raises what Triton or CUDA does where it does not
run."""


Prepare = Callable[[Sequence[tuple[ConvProblem, ConvConfig]]], None]
"""Is told all that will be measured, before anything is."""

Log = Callable[[str], None]


def tune(problem: ConvProblem, target: Target, measure: Measure, *, log: Log, most: int = 24) -> Measured:
    """The fastest configuration of a problem, and the time of cuDNN beside it.

    Args:
        problem: what to convolve.
        target: the GPU that ``measure`` measures on.
        measure: takes the time.
        most: candidates to measure, those first that are estimated to be fast.
        log: is told what was found.
    """
    timed: list[tuple[float, ConvConfig]] = []
    for config in worth_measuring(problem, target, most):
        seconds = _attempt(measure, problem, config, log)
        if seconds is not None:
            log(f"  {config}: {seconds * 1e6:.1f} us")
            timed.append((seconds, config))
    theirs = _attempt(measure, problem, None, log)
    if not timed:
        return Measured(None, None, theirs)
    seconds, config = min(timed, key=lambda pair: pair[0])
    beside = "" if theirs is None else f", cuDNN {theirs * 1e6:.1f} us"
    rate = problem.flops / seconds / 1e12
    log(f"{_title(problem)}: {config}, {seconds * 1e6:.1f} us, {rate:.0f} TFLOP/s{beside}")
    return Measured(config, seconds, theirs)


def worth_measuring(problem: ConvProblem, target: Target, most: int) -> list[ConvConfig]:
    """The valid tiles of a problem that are estimated to be the fastest, at most ``most`` of them."""
    return sorted(candidates(problem, target), key=lambda config: cycles(config, problem, target))[:most]


def _attempt(measure: Measure, problem: ConvProblem, config: ConvConfig | None, log: Log) -> float | None:
    try:
        seconds = measure(problem, config)
    except Exception as error:  # Triton's and CUDA's have no other base in common
        log(f"{_title(problem)}: {config or 'cuDNN'} does not run: {str(error).partition(chr(10))[0]}")
        return None
    return seconds if math.isfinite(seconds) and seconds > 0 else None


def tune_all(
    problems: Iterable[ConvProblem],
    target: Target,
    measure: Measure,
    path: Path,
    *,
    log: Log,
    again: bool = False,
    most: int = 24,
    prepare: Prepare | None = None,
) -> dict[ConvProblem, Measured]:
    """Tune what the table at ``path`` lacks, and write it after each.

    Raises:
        ValueError: the file at ``path`` is no table.
    """
    table = tables.read_table(path) if path.exists() else {}
    missing: list[ConvProblem] = []
    for problem in dict.fromkeys(problems):
        if problem in table and not again:
            log(f"{_title(problem)}: measured already")
        else:
            missing.append(problem)
    if prepare is not None:
        pairs = [(problem, config) for problem in missing for config in worth_measuring(problem, target, most)]
        log(f"compiling {len(pairs)} tiles")
        prepare(pairs)
    for problem in missing:
        found = tune(problem, target, measure, most=most, log=log)
        if found == Measured(None, None, None):
            log(f"{_title(problem)}: nothing runs, not even cuDNN; not kept. Run the command again")
            continue
        table[problem] = found
        tables.write_table(path, target.name, _environment(), table)
    return table


def measure_on(device: torch.device) -> Measure:
    """Takes times on a GPU: the median of calls in a CUDA graph, over more copies of the input than its L2 holds.

    cuDNN runs channels-last, its algorithm searched for, with torch's passes for bias, ReLU and pool, and the copy to
    where the result belongs.
    """
    return functools.partial(_measure, device)


def run_once(problem: ConvProblem, config: ConvConfig, device: torch.device) -> None:
    """One launch, for what Triton compiles on the way.

    Raises:
        RuntimeError: the configuration does not run here.
    """
    x, weight, bias = tensors(problem, device)
    size = (problem.rows, problem.columns)
    run(
        config, x, weight, bias, (0, 0), size, True, problem.pool, x.new_empty(out_shape(x, weight, size, problem.pool))
    )
    torch.cuda.synchronize(device)


def _measure(device: torch.device, problem: ConvProblem, config: ConvConfig | None) -> float:
    x, weight, bias = tensors(problem, device)
    origin = (0, 0)  # of the ring
    size = (problem.rows, problem.columns)
    out = x.new_empty(out_shape(x, weight, size, problem.pool))
    cache = torch.cuda.get_device_properties(device).L2_cache_size
    copies = [x.clone() for _ in range(min(64, 2 * cache // (x.numel() * x.element_size()) + 2))]
    if config is not None:

        def call(x: Tensor) -> None:
            run(config, x, weight, bias, origin, size, True, problem.pool, out)
    else:
        # What torch has to do for the same: the ring is in x, so there is nothing to pad, and the result belongs into
        # a part of the next layer's buffer, which no convolution of torch writes to.
        layer = weight.permute(2, 3, 0, 1).contiguous(memory_format=torch.channels_last)
        bias = bias.to(layer.dtype)

        def call(x: Tensor) -> None:
            full = F.conv2d(x.permute(0, 3, 1, 2), layer, bias).relu_()
            full = F.max_pool2d(full, 2, ceil_mode=True) if problem.pool else full
            out.copy_(full.permute(0, 2, 3, 1))

    settings = torch.backends.cudnn
    before = settings.benchmark, settings.allow_tf32
    settings.benchmark, settings.allow_tf32 = True, not problem.exact
    try:
        with torch.no_grad():
            return graph_seconds(call, copies)
    finally:
        settings.benchmark, settings.allow_tf32 = before


def tensors(problem: ConvProblem, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Random x with the ring that the kernel reads, weights and bias; as misaligned as the problem says."""
    dtype = getattr(torch, problem.dtype)
    spare = problem.alignment // problem.itemsize if problem.alignment < 16 else 0
    rows, columns = problem.rows + problem.kernel[0] - 1, problem.columns + problem.kernel[1] - 1
    around = torch.randn(problem.batch, rows, columns, problem.channels + spare, device=device)
    x = around.to(dtype)[..., : problem.channels]
    fan_in = problem.channels * problem.kernel[0] * problem.kernel[1]
    weight = torch.randn(*problem.kernel, problem.out_channels, problem.channels, device=device) / fan_in**0.5
    return x, weight.to(dtype), torch.randn(problem.out_channels, device=device)


def graph_seconds(call: Callable[[Tensor], None], inputs: Sequence[Tensor], repeats: int = 10) -> float:
    """Median seconds of ``call`` over ``inputs``, without what the host takes to launch it."""
    for x in inputs[:3]:
        call(x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for x in inputs:
            call(x)
    graph.replay()
    taken: list[float] = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        taken.append(start.elapsed_time(end) / 1e3 / len(inputs))
    return statistics.median(taken)


_PROBLEM = re.compile(r"(\d+)x(\d+)x(\d+)x(\d+)x(\d+)x(\d+)(\+pool)?")


def parse_problem(text: str, dtype: str) -> ConvProblem:
    """``1x502x502x64x64x3+pool``: batch, rows, columns, input and output channels, side of the kernel.

    Raises:
        ValueError: text that says something else.
    """
    found = _PROBLEM.fullmatch(text)
    numbers = [int(number) for number in found.groups()[:6]] if found else [0]
    if found is None or 0 in numbers:
        raise ValueError(
            f"{text!r} is no problem; expected batch x rows x columns x in x out x kernel, as in 1x502x502x64x64x3+pool"
        )
    batch, rows, columns, channels, out_channels, kernel = numbers
    x = torch.empty((batch, 1, 1, channels), dtype=getattr(torch, dtype), device="meta")
    alignment = math.gcd(16, channels * x.element_size(), out_channels * x.element_size())
    return ConvProblem(
        batch, rows, columns, channels, out_channels, (kernel, kernel), dtype, found[7] is not None, alignment
    )


def _title(problem: ConvProblem) -> str:
    """A problem as ``parse_problem`` takes it, and its type."""
    pool = "+pool" if problem.pool else ""
    shape = (problem.batch, problem.rows, problem.columns, problem.channels, problem.out_channels, problem.kernel[0])
    return f"{'x'.join(map(str, shape))}{pool} {problem.dtype}"


def _environment() -> dict[str, str | None]:
    import triton

    return {"torch": torch.__version__, "triton": triton.__version__, "cuda": torch.version.cuda}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 2 where there is no GPU."""
    parser = argparse.ArgumentParser(prog="python -m fcnrt_kernels.tune", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("problems", nargs="+", metavar="PROBLEM", help="as in 1x502x502x64x64x3+pool")
    parser.add_argument("--dtype", choices=sorted(ITEM_SIZES), default="bfloat16")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: the table of this GPU in fcnrt's cache")
    parser.add_argument("--most", type=int, default=24, metavar="N", help="candidates to measure (default: 24)")
    parser.add_argument("--again", action="store_true", help="measure problems anew that the table has")
    options = parser.parse_args(arguments)
    try:
        problems = [parse_problem(text, options.dtype) for text in options.problems]
    except ValueError as error:
        parser.error(str(error))
    if not torch.cuda.is_available():
        _say(f"torch {torch.__version__} finds no CUDA device here, and tiles are measured on one")
        return 2
    device = torch.device("cuda", torch.cuda.current_device())
    target = gpu.target(torch.empty(0, device=device))
    path = options.out or tables.user_folder() / tables.file_name(target.name)
    tune_all(
        problems,
        target,
        measure_on(device),
        path,
        again=options.again,
        most=options.most,
        log=_say,
        prepare=functools.partial(compile_ahead, device=device.index),
    )
    sys.stdout.write(f"{path}\n")
    return 0


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
