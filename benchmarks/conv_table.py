"""What the convolutions of FCN-8s become on a Hopper GPU: tiles, registers, shared memory, traffic, waves, roofline.

    PYTHONPATH=.:kernels python -m benchmarks.conv_table                 # 500x500, batch 1 and 16
    PYTHONPATH=.:kernels python -m benchmarks.conv_table --batch 1 --no-compile

No GPU is needed: the kernels are compiled for sm_90. One time is a roofline, that is what the multiplications or the
traffic would take at the rates below, whichever takes longer, in whole waves; no kernel reaches it. The others were
measured on the GPU by ``fcnrt_kernels.tune``, whose table ships with the kernels: ours, and cuDNN's with torch's passes
for bias, ReLU and pool.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from fcnrt_kernels import gpu, tables
from fcnrt_kernels.config import select_first_tile
from fcnrt_kernels.conv import run
from fcnrt_kernels.conv_first import launch as launch_first
from fcnrt_kernels.conv_problem import ConvConfig, ConvProblem, Target, tiling
from fcnrt_kernels.tables import Measured

HOPPER = Target(90, 132, "NVIDIA H100 80GB HBM3")
MATRIX_RATE = 777e12
"""FLOP/s of a 16-bit matrix product of side 8192 through torch, as ``benchmarks.ceilings`` measured it there."""
MEMORY_RATE = 2.94e12
"""Bytes/s that a copy reads and writes there."""


@dataclass(frozen=True)
class Layer:
    """A convolution of FCN-8s on the rectangle that depends on an image of 500x500."""

    name: str
    side: int
    """rows, and columns, of the convolution"""
    channels: int
    out_channels: int
    kernel: int = 3
    pool: bool = False

    def problem(self, batch: int) -> ConvProblem:
        return ConvProblem(
            batch,
            self.side,
            self.side,
            self.channels,
            self.out_channels,
            (self.kernel, self.kernel),
            "bfloat16",
            self.pool,
        )


FIRST = Layer("conv1_1", 502, 3, 64)
"""From a uint8 image, by a kernel of its own."""

# Rows that depend on the image, widened to whole windows before a pool.
LAYERS = (
    Layer("conv1_2", 506, 64, 64, pool=True),
    Layer("conv2_1", 255, 64, 128),
    Layer("conv2_2", 258, 128, 128, pool=True),
    Layer("conv3_1", 131, 128, 256),
    Layer("conv3_2", 133, 256, 256),
    Layer("conv3_3", 136, 256, 256, pool=True),
    Layer("conv4_1", 70, 256, 512),
    Layer("conv4_2", 72, 512, 512),
    Layer("conv4_3", 76, 512, 512, pool=True),
    Layer("conv5_1", 40, 512, 512),
    Layer("conv5_2", 42, 512, 512),
    Layer("conv5_3", 44, 512, 512, pool=True),
    Layer("fc6", 16, 512, 4096, kernel=7),
    Layer("fc7", 16, 4096, 4096, kernel=1),
)


@dataclass(frozen=True)
class Row:
    """One layer at one batch size."""

    layer: str
    batch: int
    tile: str
    work: int
    waves: int
    gigaflops: float
    megabytes: float
    """each activation and weight read or written once, and the sums of a split sum once each way"""
    microseconds: float
    """at the roofline"""
    compiled: Any | None
    """``aot.CompiledKernel``, where it was compiled"""
    measured: Measured | None = None


def rows(batches: Sequence[int], *, compiled: bool) -> Iterator[Row]:
    """The table, layer by layer."""
    shipped = tables.read_table(tables.SHIPPED / tables.file_name(HOPPER.name))
    for batch in batches:
        yield _first_row(batch, compiled=compiled)
        for layer in LAYERS:
            problem = layer.problem(batch)
            config = tables.choose_from(shipped, problem, HOPPER).config
            tiles = tiling(config, problem, HOPPER)
            partial = 0 if config.splits == 1 else 8 * tiles.work * config.block_m * config.block_n
            # A wave takes as long with one program as with all: what the last one lacks is lost.
            slots = tiles.waves * HOPPER.multiprocessors * config.programs
            padded = 2 * config.block_m * config.block_n * config.block_k * tiles.steps * slots
            moved = problem.bytes + partial
            yield Row(
                layer.name,
                batch,
                str(config),
                tiles.work,
                tiles.waves,
                problem.flops / 1e9,
                moved / 1e6,
                1e6 * max(padded / MATRIX_RATE, moved / MEMORY_RATE),
                _compile(layer, config) if compiled else None,
                shipped.get(problem),
            )


def _first_row(batch: int, *, compiled: bool) -> Row:
    """The first layer, which writes 64 channels for the three bytes that it reads."""
    positions = batch * FIRST.side**2
    tile = select_first_tile(FIRST.kernel**2 * FIRST.channels, FIRST.out_channels, exact=False)
    work = batch * -(-FIRST.side // tile.block_y) * -(-FIRST.side // tile.block_x)
    moved = batch * 500 * 500 * FIRST.channels + positions * FIRST.out_channels * 2
    flops = FIRST.problem(batch).flops
    padded = 2 * work * tile.block_y * tile.block_x * tile.block_c * tile.block_k
    return Row(
        FIRST.name,
        batch,
        f"positions {tile.block_y}x{tile.block_x}, {tile.block_c}x{tile.block_k}, {tile.num_warps} warps",
        work,
        -(-work // HOPPER.multiprocessors),
        flops / 1e9,
        moved / 1e6,
        1e6 * max(padded / MATRIX_RATE, moved / MEMORY_RATE),
        _compile_first() if compiled else None,
    )


def _compile_first() -> Any:
    from fcnrt_kernels import aot

    weight = torch.empty(FIRST.kernel, FIRST.kernel, FIRST.channels, FIRST.out_channels, dtype=torch.bfloat16)
    out = torch.empty(1, FIRST.side, FIRST.side, FIRST.out_channels, dtype=torch.bfloat16)
    image, vector = torch.empty(1, 500, 500, FIRST.channels, dtype=torch.uint8), torch.empty(FIRST.channels)
    with aot.recorded_launches() as launches:
        size = (FIRST.side, FIRST.side)
        launch_first(image, weight, torch.empty(FIRST.out_channels), vector, vector, 1, (-2, -2), size, True, out)
    return launches[0].compile(HOPPER.capability)


def _compile(layer: Layer, config: ConvConfig) -> Any:
    from fcnrt_kernels import aot

    read, written = layer.side + layer.kernel - 1, -(-layer.side // 2) if layer.pool else layer.side
    x = torch.empty(1, read, read, layer.channels, dtype=torch.bfloat16)
    out = torch.empty(1, written, written, layer.out_channels, dtype=torch.bfloat16)
    weight = torch.empty(layer.kernel, layer.kernel, layer.out_channels, layer.channels, dtype=torch.bfloat16)
    before = gpu.target
    gpu.target = lambda x: HOPPER
    try:
        with aot.recorded_launches() as launches:
            size = (layer.side, layer.side)
            run(config, x, weight, torch.empty(layer.out_channels), (0, 0), size, True, layer.pool, out)
    finally:
        gpu.target = before
    return launches[0].compile(HOPPER.capability)


def render(table: Sequence[Row]) -> str:
    """As Markdown."""
    lines = [
        f"Roofline: whole waves at {MATRIX_RATE / 1e12:.0f} TFLOP/s, or traffic at {MEMORY_RATE / 1e12:.2f} TB/s. "
        f"Measured on an {HOPPER.name}, in bfloat16.",
        "",
        "| layer | batch | tile | registers | shared KB | matrix instruction | GFLOP | MB | tiles | waves | "
        "roofline us | measured us | TFLOP/s | cuDNN us |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table:
        registers, shared, instruction = "", "", ""
        if row.compiled is not None:
            registers, shared = str(row.compiled.registers), f"{row.compiled.shared_bytes / 1024:.0f}"
            instruction = ", ".join(sorted(row.compiled.matrix_instructions))
        lines.append(
            f"| {row.layer} | {row.batch} | {row.tile} | {registers} | {shared} | {instruction} | "
            f"{row.gigaflops:.1f} | {row.megabytes:.1f} | {row.work} | {row.waves} | {row.microseconds:.1f} | "
            f"{_measured(row)} |"
        )
    for batch in dict.fromkeys(row.batch for row in table):
        whole = [row for row in table if row.batch == batch]
        lines.append(
            f"| all | {batch} | | | | | {sum(row.gigaflops for row in whole):.1f} | "
            f"{sum(row.megabytes for row in whole):.1f} | | | {sum(row.microseconds for row in whole):.1f} | | | |"
        )
    return "\n".join(lines)


def _measured(row: Row) -> str:
    """Ours, its rate, and cuDNN's."""
    if row.measured is None or row.measured.seconds is None:
        return " |  | "
    seconds, theirs = row.measured.seconds, row.measured.cudnn_seconds
    beside = "" if theirs is None else f"{theirs * 1e6:.1f}"
    return f"{seconds * 1e6:.1f} | {row.gigaflops / seconds / 1e3:.0f} | {beside}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.conv_table", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16], metavar="N", help="default: 1 16")
    parser.add_argument(
        "--no-compile", action="store_true", help="without registers and shared memory: no Triton needed"
    )
    options = parser.parse_args(arguments)
    print(render(list(rows(options.batch, compiled=not options.no_compile))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
