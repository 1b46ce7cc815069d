"""The convolutions as they are launched, compiled for GPUs that are not here: what the tiles promise is kept.

A sample of the valid tiles is compiled; with ``FCNRT_ALL_TILES=1`` all of them are, which takes most of an hour.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from fcnrt_kernels import conv_first, gpu
from fcnrt_kernels.conv import problem_of, run
from fcnrt_kernels.conv_config import SHARED_MEMORY, candidates, select_conv_config, shared_bytes
from fcnrt_kernels.conv_problem import ConvConfig, ConvProblem, Target

aot = pytest.importorskip("fcnrt_kernels.aot", reason="needs Triton, which has no wheel for this platform")

pytestmark = pytest.mark.slow

ALL_TILES = bool(os.environ.get("FCNRT_ALL_TILES"))
TARGETS = {80: Target(80, 108, "test"), 90: Target(90, 132, "test"), 100: Target(100, 148, "test")}
TARGETS[120] = Target(120, 170, "test")
BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32


@dataclass(frozen=True)
class Layer:
    batch: int
    rows: int
    channels: int
    out_channels: int
    kernel: int = 3
    pool: bool = False
    dtype: torch.dtype = BF16
    exact: bool = False

    def __str__(self) -> str:
        kind = f"{'-pool' if self.pool else ''}{'-exact' if self.exact else ''}"
        dtype = str(self.dtype).removeprefix("torch.")
        return f"{self.batch}x{self.rows}-{self.channels}to{self.out_channels}-k{self.kernel}{kind}-{dtype}"

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """x, weight, bias and out, their values undefined."""
        rows = -(-self.rows // 2) if self.pool else self.rows
        x = torch.empty(self.batch, self.rows + 5, self.rows + 5, self.channels, dtype=self.dtype)[:, 2:-2, 2:-2]
        weight = torch.empty(self.kernel, self.kernel, self.out_channels, self.channels, dtype=self.dtype)
        out = torch.empty(self.batch, rows + 4, rows + 4, self.out_channels, dtype=self.dtype)[:, 2:-2, 2:-2]
        return x, weight, torch.empty(self.out_channels), out

    def problem(self) -> ConvProblem:
        x, weight, _, out = self.tensors()
        return problem_of(x, weight, (self.rows, self.rows), self.pool, out, exact=self.exact)

    def launches(self, config: ConvConfig) -> list[Any]:
        x, weight, bias, out = self.tensors()
        with aot.recorded_launches() as launches:
            run(config, x, weight, bias, (-1, -1), (self.rows, self.rows), True, self.pool, out)
        return launches  # type: ignore[no-any-return]


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, bool], None]]:
    """Makes CPU tensors pass for ones on a GPU of a capability, and torch ask for exact float32 products or not."""
    before = torch.backends.cudnn.allow_tf32

    def on(capability: int, exact: bool) -> None:
        monkeypatch.setattr(gpu, "target", lambda x: TARGETS[capability])
        torch.backends.cudnn.allow_tf32 = not exact

    yield on
    torch.backends.cudnn.allow_tf32 = before


# Of FCN-8s at 500x500, the halo of constants left out: conv1_2, conv2_2, conv3_1, conv5_1, fc6.
LAYERS = (
    Layer(1, 502, 64, 64, pool=True),
    Layer(16, 257, 128, 128, pool=True, dtype=F16),
    Layer(1, 131, 128, 256),
    Layer(1, 40, 512, 512),
    Layer(1, 16, 512, 4096, kernel=7),
)
OTHERS = (
    Layer(1, 35, 33, 21, pool=True),  # no multiple of 16 bytes
    Layer(2, 35, 16, 32, pool=True),  # slim
    Layer(1, 35, 64, 128, dtype=F32),
    Layer(1, 35, 64, 128, dtype=F32, exact=True, pool=True),
    Layer(1, 3, 3, 1),
    Layer(1, 1, 8, 8, kernel=1),  # where every size is 1, Triton makes constants of them
)


def tiles() -> Iterator[tuple[int, Layer, ConvConfig]]:
    """What is chosen, and of all that is valid a sample; boxes of one area become the same but for a few constants."""
    for capability, target in TARGETS.items():
        for layer in (*LAYERS, *OTHERS):
            if (
                capability == 90
                or layer in (LAYERS[1], LAYERS[3], OTHERS[0], OTHERS[2 + (capability == 120)])
                or ALL_TILES
            ):
                yield capability, layer, select_conv_config(layer.problem(), target)[0]
    different: dict[tuple[Any, ...], tuple[int, Layer, ConvConfig]] = {}
    for capability, target in TARGETS.items():
        for layer in (replace(LAYERS[3], pool=True), LAYERS[3], replace(LAYERS[3], dtype=F32), *OTHERS[:4]):
            for config in candidates(layer.problem(), target):
                key = replace(config, splits=min(config.splits, 2), programs=1, block_y=1, block_x=config.block_n)
                different.setdefault((capability, layer, key), (capability, layer, config))
    every = list(different.values())
    yield from every if ALL_TILES else random.Random(0).sample(every, 12)


@pytest.mark.parametrize(
    ("capability", "layer", "config"),
    list(tiles()),
    ids=lambda value: f"sm_{value}" if isinstance(value, int) else str(value),
)
def test_tiles(capability: int, layer: Layer, config: ConvConfig, on: Callable[[int, bool], None]) -> None:
    on(capability, layer.exact)
    main, *reduction = layer.launches(config)
    assert len(reduction) == (config.splits > 1)
    compiled = main.compile(capability)
    assert_fits(compiled)
    assert compiled.shared_bytes <= shared_bytes(config, layer.problem(), capability) <= SHARED_MEMORY[capability]
    if layer.exact:
        assert not compiled.matrix_instructions
    elif config.variant == "descriptor":
        assert_fed_by_descriptors(compiled, written=config.splits == 1)
    else:
        assert compiled.matrix_instructions
    for launch in reduction:
        assert_fits(launch.compile(capability))


def assert_fits(compiled: Any) -> None:
    assert compiled.spill_bytes == 0
    assert compiled.registers <= 255
    assert compiled.fits


def assert_fed_by_descriptors(compiled: Any, *, written: bool) -> None:
    """Both operands go from descriptors to shared memory to the tensor cores, and results to descriptors."""
    assert compiled.matrix_instructions == {"wgmma.mma_async" if compiled.capability == 90 else "tcgen05.mma"}
    assert "memdesc_reshape" in compiled.ttgir
    assert "local_load" not in compiled.ttgir
    loads = compiled.ttgir.count("async_tma_copy_global_to_local")
    assert loads > 0
    assert ("async_tma_copy_local_to_global" in compiled.ttgir) == written
    assert "ld.global" not in loop_of(compiled.ttgir)
    if compiled.capability == 90:
        assert compiled.ttgir.count("warp_group_dot ") == 1  # two would wait for one another
        assert "serializ" not in compiled.assembler_messages()


def loop_of(ttgir: str) -> str:
    return ttgir[ttgir.index("scf.for") :] if "scf.for" in ttgir else ttgir


@pytest.mark.parametrize(
    "config",
    [
        ConvConfig("descriptor", 64, 16, 16, 64, 4, 2),
        ConvConfig("descriptor", 128, 16, 16, 64, 8, 3),
        ConvConfig("pointer", 64, 8, 16, 64, 8, 3),
    ],
    ids=str,
)
def test_a_pool_moves_nothing_between_threads(config: ConvConfig, on: Callable[[int, bool], None]) -> None:
    """All four inputs of a window are one thread's, also where those that do not exist are left out."""
    on(90, False)
    counts = []
    for pool in (False, True):
        compiled = Layer(1, 35, 64, 128, pool=pool).launches(config)[0].compile(90)
        assert "max.NaN.f32" in compiled.ptx
        assert "max.f32" not in compiled.ptx  # which would take NaN for the smaller number
        counts.append([len(re.findall(rf"\b{name}\b", compiled.ptx)) for name in ("shfl", "st.shared", "stmatrix")])
    assert all(pooled <= plain for plain, pooled in zip(*counts, strict=True)), counts


@pytest.mark.parametrize(
    ("capability", "given", "dtype", "exact"),
    [
        (80, torch.uint8, BF16, False),
        (90, torch.uint8, BF16, False),
        (90, F32, BF16, False),
        (90, F32, F32, False),
        (90, F32, F32, True),
        (100, torch.uint8, F16, False),
        (100, F32, F32, True),
        (120, torch.uint8, BF16, False),
    ],
    ids=str,
)
def test_first_layer(
    capability: int,
    given: torch.dtype,
    dtype: torch.dtype,
    exact: bool,
    on: Callable[[int, bool], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on(capability, exact)
    monkeypatch.setattr("fcnrt_kernels.op.runs_triton", lambda x: True)
    image, weight = torch.empty(1, 500, 500, 3, dtype=given), torch.empty(3, 3, 3, 64, dtype=dtype)
    out = torch.empty(1, 506, 506, 64, dtype=dtype)[:, 2:-2, 2:-2]
    with aot.recorded_launches() as launches:
        conv_first(image, weight, torch.empty(64), size=(502, 502), origin=(-2, -2), out=out)
    (launch,) = launches
    compiled = launch.compile(capability)
    assert_fits(compiled)
    assert bool(compiled.matrix_instructions) != exact
    assert "st.global.v4.b32" in compiled.ptx  # whole lines of channels
    assert not re.search(r"\b(div|rem)\.", compiled.ptx)
    if given == torch.uint8:
        assert compiled.ptx.count("ld.global.b8") == 27  # a thread reads its own position's terms
