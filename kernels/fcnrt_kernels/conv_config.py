"""Which tiles a convolution can run in, and which it takes.

Nothing here touches a GPU or Triton: validity and choice are pure functions of the problem and the target. A table of
measurements, where there is one, goes before the choice made here (``tables.py``).
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Mapping

from fcnrt_kernels.config import LANE_MULTIPLE, next_power_of_two
from fcnrt_kernels.conv_problem import ConvConfig, ConvProblem, Target, tiling, total_steps

SHARED_MEMORY: Mapping[int, int] = {
    80: 163 << 10,
    86: 99 << 10,
    89: 99 << 10,
    90: 227 << 10,
    100: 227 << 10,
    120: 99 << 10,
}
"""Bytes of shared memory that one block may take, by compute capability (CUDA C++ Programming Guide, table 30)."""

DESCRIPTOR_CAPABILITIES = frozenset({90, 100})
"""Where tensor descriptors feed the tensor cores from shared memory: wgmma and tcgen05."""

_LINE = 128
"""Bytes of a row of a tile in shared memory: the widest swizzle."""
_BARRIERS = 256
"""Bytes that a pipeline's barriers take, rounded up."""


def shared_bytes(config: ConvConfig, problem: ConvProblem, capability: int) -> int:
    """Shared memory of one program on a GPU of a capability, never less than the compiler takes."""
    pipeline = config.num_stages * (config.block_m + config.block_n) * config.block_k * problem.itemsize
    tile = config.block_m * config.block_n
    result = tile * 4 if config.splits > 1 else tile * problem.itemsize // (4 if problem.pool else 1)
    result //= config.parts(problem, capability)
    if config.variant == "pointer":
        return max(pipeline, result, tile * problem.itemsize) + _BARRIERS  # a pool may pass through it whole
    bias = 4 * config.block_m
    return pipeline + result + bias + _BARRIERS  # the next tile is on its way while this one is written


def is_valid(config: ConvConfig, problem: ConvProblem, target: Target) -> bool:
    """Whether a configuration runs a problem on a target without spilling registers."""
    return why_invalid(config, problem, target) is None


def why_invalid(config: ConvConfig, problem: ConvProblem, target: Target) -> str | None:
    """What stands against a configuration, or None: the one rule of the selection, the tuner and the tests."""
    if min(config.num_warps, config.num_stages, config.programs) < 1:
        return f"{config.num_warps} warps, {config.num_stages} stages, {config.programs} programs"
    blocks = (config.block_m, config.block_y, config.block_x, config.block_k)
    if any(block < 1 or block & (block - 1) for block in blocks):
        return f"blocks {blocks} are not all powers of two"
    if config.block_m < LANE_MULTIPLE or config.block_n < LANE_MULTIPLE or config.block_k < LANE_MULTIPLE:
        return f"a side of the product is shorter than {LANE_MULTIPLE}"
    if problem.pool and min(config.block_y, config.block_x) < 2:
        return "a pool needs two rows and two columns in a tile"
    if config.splits < 1 or config.splits > total_steps(config.block_k, problem):
        return f"{config.splits} splits of {total_steps(config.block_k, problem)} steps"
    shared, limit = shared_bytes(config, problem, target.capability), SHARED_MEMORY[target.capability]
    # Beside each program's own, 1 KB is the system's.
    if shared > limit or config.programs * (shared + 1024) > limit + 1024:
        return f"{config.programs} x {shared} bytes of shared memory, of {limit}"
    accumulators = config.block_m * config.block_n // (32 * config.num_warps)
    if config.variant == "descriptor":
        return _why_no_descriptor(config, problem, target, accumulators)
    return _why_no_pointer(config, problem, accumulators)


def _why_no_descriptor(config: ConvConfig, problem: ConvProblem, target: Target, accumulators: int) -> str | None:
    if target.capability not in DESCRIPTOR_CAPABILITIES:
        return f"sm_{target.capability} has no matrix instruction that reads what descriptors load"
    if problem.alignment < 16:
        return f"addresses and pixel strides are multiples of {problem.alignment} bytes only"
    if problem.exact:
        return "exact float32 products keep both operands in registers"
    if config.block_k * problem.itemsize > _LINE:
        return f"a row of a tile is longer than {_LINE} bytes"
    if config.block_m % 64 or config.num_warps % 4:
        return "wgmma takes 64 channels for each group of four warps"
    if config.block_m * config.block_n < 64 * 64 * config.num_warps // 4:
        return "there is less than one matrix instruction for each group of four warps"
    if max(config.block_m, config.block_y, config.block_x) > 256:
        return "a descriptor's box is longer than 256"
    if accumulators > 128 or config.programs * config.num_warps * accumulators > 1024:
        return f"{accumulators} accumulators a thread in {config.programs} x {config.num_warps} warps"
    if target.capability == 100 and config.splits > 1 and accumulators > 64:
        return f"{accumulators} accumulators a thread leave tensor memory for the workspace through registers"
    return None


def _why_no_pointer(config: ConvConfig, problem: ConvProblem, accumulators: int) -> str | None:
    if config.programs != 1:
        return "pointer programs are not persistent"
    if config.num_warps != 8:
        return "fewer than eight warps leave each thread more addresses than it has registers"
    if config.block_k * problem.itemsize > (_LINE if problem.alignment == 16 else _LINE // 2):
        return f"a row of a tile is longer than is read at {problem.alignment} bytes at a time"
    narrow = problem.alignment < 4  # too few bytes for an asynchronous copy: all of a tile passes through registers
    most = (8 if narrow else 16) if problem.exact else 16 if narrow else 32 if problem.alignment == 4 else 64
    if accumulators > most:
        return f"{accumulators} accumulators a thread, of {most} that fit beside the operands"
    if problem.exact and config.block_k > 16:
        return "exact float32 products keep both operands in registers: 16 channels at a time"
    return None


def candidates(problem: ConvProblem, target: Target, *, deepest: bool = False) -> Iterator[ConvConfig]:
    """Every valid configuration that is worth a try, the larger tiles first.

    Args:
        deepest: of those that differ in their stages alone, only the one that has the most.
    """
    for config in _tiles(problem):
        whole = tiling(config, problem, target).work
        for splits in _SPLITS if whole < 2 * target.multiprocessors else (1,):
            for num_stages in _STAGES:
                staged = dataclasses.replace(config, splits=splits, num_stages=num_stages)
                if is_valid(staged, problem, target):
                    yield staged
                    if deepest:
                        break


def _tiles(problem: ConvProblem) -> Iterator[ConvConfig]:
    """Tiles whole and with any number of stages, valid or not."""
    widest = _LINE // problem.itemsize
    narrow = max(LANE_MULTIPLE, next_power_of_two(problem.channels))
    if problem.alignment == 16 and not problem.exact:
        for block_m, box, fewer, programs in itertools.product((128, 256, 64), _WIDE_BOXES, (0, 1), (1, 2)):
            num_warps = 4 if fewer == (block_m > 64) else 8  # one group of warps to 64 channels is tried first
            block_k = min(widest, narrow)
            yield ConvConfig("descriptor", block_m, box[0], box[1], block_k, num_warps, _STAGES[-1], programs=programs)
    rows = dict.fromkeys((widest, widest // 2, LANE_MULTIPLE))
    for block_m, box, block_k in itertools.product((128, 64, 32, 16), _BOXES, rows):
        if block_k <= narrow:
            yield ConvConfig("pointer", block_m, box[0], box[1], block_k, 8, _STAGES[-1])


_BOXES = ((8, 16), (16, 8), (4, 32), (8, 8), (4, 16))
_WIDE_BOXES = ((16, 16), (8, 32), (32, 8), *_BOXES)
_SPLITS = (1, 2, 3, 4, 6, 8, 12, 16)
_STAGES = (4, 3, 2)

# For putting configurations in an order: cycles of one multiprocessor. The constants are an H100's, from 392 tiles that
# were timed on 28 layers of FCN-8s; on those the first of the order takes 2 % longer than the fastest, 10 % at most.
_FLOPS_PER_CYCLE: Mapping[int, int] = {80: 2048, 86: 1024, 89: 1024, 90: 4096, 100: 8192, 120: 2048}
"""Dense 16-bit products with float32 sums (NVIDIA's white papers)."""
_BYTES_PER_CYCLE = 35
"""On their way from L2 into shared memory; more stages have more on their way at once."""
_SHARED_BYTES_PER_CYCLE = 128
"""Into and out of shared memory."""
_STEP_CYCLES = 40
"""At the least, from one step to the next."""
_SECOND_GROUP_CYCLES = 60
"""That another group of four warps costs a step."""
_BYTES_WRITTEN_PER_CYCLE = 15
_BYTES_ADDED_PER_CYCLE = 30
_SECOND_KERNEL_CYCLES = 6000
"""To start it, which a graph cannot hide."""


def cycles(config: ConvConfig, problem: ConvProblem, target: Target) -> float:
    """An estimate of how long a configuration takes, to compare it with others of the same problem."""
    tiles = tiling(config, problem, target)
    flops = _FLOPS_PER_CYCLE[target.capability] * (1 if problem.itemsize == 2 else 0.5)
    if problem.exact:
        flops = 256
    if config.variant == "pointer":
        flops /= 2  # addresses and masks
    products = 2 * config.block_m * config.block_n * config.block_k / flops
    # Programs that share a multiprocessor share its units, and each waits for data while another computes.
    busy = config.programs * max(products, _shared_cycles(config, problem), _STEP_CYCLES)
    loaded = (config.block_m + config.block_n) * config.block_k * problem.itemsize
    waiting = loaded / _BYTES_PER_CYCLE / (config.num_stages - 1)
    groups = config.programs * (config.num_warps // 4 - 1)
    one = tiles.steps * (math.hypot(busy, waiting) + groups * _SECOND_GROUP_CYCLES)
    tile = config.block_m * config.block_n
    if config.splits == 1:
        end = tile * problem.itemsize / (4 if problem.pool else 1) / _BYTES_WRITTEN_PER_CYCLE + tile / 64
        # What one program takes to end, another fills with products.
        return tiles.waves * (one + end / config.programs) + end * (config.programs > 1)
    end = tile * 4 / _BYTES_WRITTEN_PER_CYCLE
    added = tiles.work * tile * 4 / (target.multiprocessors * _BYTES_ADDED_PER_CYCLE)
    return tiles.waves * (one + end) + added + _SECOND_KERNEL_CYCLES


def _shared_cycles(config: ConvConfig, problem: ConvProblem) -> float:
    """What shared memory takes for one step: each group of four warps reads both of its operands from there."""
    groups = config.num_warps // 4
    groups_m = min(groups, max(1, config.block_m // 64))
    read = config.block_m * (groups // groups_m) + config.block_n * max(1, config.block_m // 64)
    rows = read + config.block_m + config.block_n
    return rows * config.block_k * problem.itemsize / _SHARED_BYTES_PER_CYCLE


@functools.lru_cache(maxsize=4096)
def select_conv_config(problem: ConvProblem, target: Target) -> tuple[ConvConfig, str]:
    """The configuration to run a problem with, and why: the one that is estimated to be the fastest.

    Raises:
        ValueError: none is valid.
    """
    best = min(
        candidates(problem, target, deepest=True), key=lambda config: cycles(config, problem, target), default=None
    )
    if best is None:
        raise ValueError(f"no tile is valid for {problem} on {target}")
    tiles = tiling(best, problem, target)
    reason = (
        f"{tiles.work} tiles in {tiles.waves} waves over {target.multiprocessors} multiprocessors, "
        f"{tiles.steps} steps each"
    )
    if best.variant == "pointer":
        descriptors = any(config.variant == "descriptor" for config in candidates(problem, target, deepest=True))
        why = "they are estimated to be faster" if descriptors else _why_no_descriptor(best, problem, target, 0)
        reason += f"; pointers, as {why}"
    return best, f"estimated: {reason}"
