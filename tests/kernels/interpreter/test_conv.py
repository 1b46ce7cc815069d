"""The convolutions in the interpreter: parity with ``torch.nn``, over ring buffers whose rest must stay untouched."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fcnrt_kernels import conv, conv_first, gpu, reference, reference_conv, tables
from fcnrt_kernels.config import FirstTile
from fcnrt_kernels.conv import problem_of, run
from fcnrt_kernels.conv_config import candidates
from fcnrt_kernels.conv_first import launch as launch_first
from fcnrt_kernels.conv_problem import ConvConfig, Target
from fcnrt_kernels.packing import pack_conv, pack_first, pack_normalization

HOPPER, AMPERE = Target(90, 3, "test"), Target(80, 3, "test")
F16, F32 = torch.float16, torch.float32
CANARY = 77.0
RING = 2
ALL_TILES = bool(os.environ.get("FCNRT_ALL_TILES"))
"""Every tile that a GPU may choose, whole and split, which takes minutes."""


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The kernels that were launched, by name; the torch twins are out of reach."""
    from triton.runtime.interpreter import GridExecutor

    launched: list[str] = []
    execute = GridExecutor.__call__

    def record(executor: Any, *args: Any, **kwargs: Any) -> Any:
        launched.append(executor.fn.__name__)
        return execute(executor, *args, **kwargs)

    def refuse(x: Tensor) -> Tensor:
        raise AssertionError("the torch twin was called; the kernel should have been")

    with monkeypatch.context() as patch:
        patch.setattr(GridExecutor, "__call__", record)
        patch.setattr(reference, "_upcast", refuse)  # every twin begins with it
        yield launched


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[Target], None]:
    """Makes the interpreter pass for another GPU."""
    return lambda target: monkeypatch.setattr(gpu, "target", lambda x: target)


@dataclass(frozen=True)
class Case:
    """A window of a map; ``margins`` are the rows and columns of ``x`` before and after what the window needs."""

    batch: int
    size: tuple[int, int]
    channels: int
    out_channels: int
    kernel: tuple[int, int] = (3, 3)
    origin: tuple[int, int] = (-1, -1)
    pool: bool = False
    relu: bool = True
    dtype: torch.dtype = F16
    beyond: tuple[int, int] = (-2, -2)
    """how much longer x is than the output"""

    def __str__(self) -> str:
        size, kernel = "x".join(map(str, self.size)), "x".join(map(str, self.kernel))
        kind = f"{'-pool' if self.pool else ''}{'' if self.relu else '-linear'}"
        origin = ",".join(map(str, self.origin))
        name = str(self.dtype).removeprefix("torch.")
        return f"{self.batch}x{size}-{self.channels}to{self.out_channels}-k{kernel}-at{origin}{kind}-{name}"

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """x inside a larger buffer that is NaN around it, packed weights, bias."""
        height, width = (length + more + 2 for length, more in zip(self.size, self.beyond, strict=True))
        around = torch.full((self.batch + 1, height + 5, width + 4, self.channels), torch.nan, dtype=self.dtype)
        x = around[1:, 2:-3, 1:-3].copy_(torch.randn(self.batch, height, width, self.channels))
        fan_in = self.channels * self.kernel[0] * self.kernel[1]
        weight = torch.randn(self.out_channels, self.channels, *self.kernel) / fan_in**0.5
        return x, pack_conv(weight, self.dtype), torch.randn(self.out_channels)


def oracle(case: Case, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``nn.Conv2d`` in float64 on a canvas large enough, then a crop, ReLU and pool: float64 NHWC."""
    pad = 16
    full = F.conv2d(
        F.pad(x.double().permute(0, 3, 1, 2), [pad] * 4), weight.double().permute(2, 3, 0, 1), bias.double()
    )
    y, x_ = (pad + first for first in case.origin)
    full = full[:, :, y : y + case.size[0], x_ : x_ + case.size[1]]
    assert full.shape[2:] == case.size
    full = full.relu() if case.relu else full
    full = F.max_pool2d(full, 2, ceil_mode=True) if case.pool else full
    return full.permute(0, 2, 3, 1)


def guarded(shape: Sequence[int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A buffer of canaries, and a poisoned output inside it whose channels keep TMA's alignment."""
    n, rows, columns, channels = shape
    buffer = torch.full((n, rows + 2 * RING, columns + 2 * RING, channels), CANARY, dtype=dtype)
    out = buffer[:, RING:-RING, RING:-RING]
    out.fill_(torch.nan)
    return buffer, out


def check(out: Tensor, buffer: Tensor, expected: Tensor) -> None:
    assert not out.isnan().any(), f"{int(out.isnan().sum())} of {out.numel()} outputs were never written"
    tolerance = 1e-5 if out.dtype == F32 else 1e-3
    error = (out.double() - expected).norm() / expected.norm()
    assert error <= tolerance, f"relative error {error:.1e}"
    torch.testing.assert_close(out.double(), expected, rtol=4 * tolerance, atol=4 * tolerance)
    out.fill_(CANARY)
    assert bool((buffer == CANARY).all()), "something outside the output was written"


CASES = (
    Case(2, (9, 11), 24, 40),
    Case(2, (9, 11), 24, 40, pool=True),
    Case(1, (17, 16), 16, 64, pool=True, dtype=F32),
    Case(1, (1, 1), 8, 8, pool=True, beyond=(-1, -1)),
    Case(1, (5, 3), 72, 16, origin=(1, 2), beyond=(5, 4), relu=False),  # in the middle of a wider ring
    Case(2, (7, 5), 16, 24, origin=(-3, 2), beyond=(-5, 1), pool=True),  # beyond the ring on one side
    Case(1, (3, 4), 32, 72, kernel=(7, 7), origin=(0, 0), beyond=(4, 4)),  # fc6
    Case(2, (3, 2), 16, 16, kernel=(6, 6), origin=(0, 0), beyond=(3, 3)),  # fc6 of AlexNet
    Case(2, (6, 5), 40, 24, kernel=(1, 1), origin=(0, 0), dtype=F32),  # fc7
    Case(1, (4, 5), 13, 21, dtype=F16),  # no multiple of 16 bytes
    Case(1, (5, 4), 3, 1, pool=True, dtype=F32),
    Case(1, (4, 6), 8, 16, kernel=(1, 3), origin=(2, -1), beyond=(3, 0)),
)


@pytest.mark.parametrize("target", [HOPPER, AMPERE], ids=lambda target: f"sm_{target.capability}")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_conv(case: Case, target: Target, launches: list[str], on: Callable[[Target], None]) -> None:
    on(target)
    x, weight, bias = case.tensors()
    expected = oracle(case, x, weight, bias)
    buffer, out = guarded(expected.shape, case.dtype)
    how: dict[str, Any] = {"size": case.size, "origin": case.origin, "relu": case.relu, "pool": case.pool}
    assert conv(x, weight, bias, out=out, **how) is out
    choice = tables.choose(problem_of(x, weight, case.size, case.pool, out), target)
    names = [f"conv_{choice.config.variant}_kernel"] + ["conv_reduce_kernel"] * (choice.config.splits > 1)
    assert launches == names
    check(out, buffer, expected)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_twin(case: Case) -> None:
    x, weight, bias = case.tensors()
    expected = oracle(case, x, weight, bias)
    result = reference_conv.conv(x, weight, bias, case.origin, case.size, case.relu, case.pool)
    assert result.dtype == case.dtype
    assert result.is_contiguous()
    assert (result.double() - expected).norm() <= (1e-5 if case.dtype == F32 else 1e-3) * expected.norm()


def tiles() -> list[tuple[ConvConfig, Case]]:
    """Every shape of tile with and without a pool, whole and split; the number of stages changes no result."""
    found: dict[tuple[Any, ...], tuple[ConvConfig, Case]] = {}
    for target, dtype, channels in ((HOPPER, F16, 72), (HOPPER, F32, 40), (AMPERE, F16, 72), (AMPERE, F16, 23)):
        for pool in (False, True):
            case = Case(1, (5, 9), channels, 48, kernel=(2, 2), pool=pool, dtype=dtype)
            x, weight, _ = case.tensors()
            problem = problem_of(x, weight, case.size, pool, exact=False)
            for config in candidates(problem, target, deepest=True):
                tile = replace(config, num_stages=2, num_warps=8, programs=1, splits=min(config.splits, 2))
                found.setdefault((tile, pool, dtype, channels), (config, case))
    every = list(found.values())
    return every if ALL_TILES else random.Random(0).sample(every, 24)


@pytest.mark.parametrize(("config", "case"), tiles(), ids=str)
def test_every_tile(config: ConvConfig, case: Case, launches: list[str], on: Callable[[Target], None]) -> None:
    on(HOPPER if config.variant == "descriptor" else AMPERE)
    x, weight, bias = case.tensors()
    expected = oracle(case, x, weight, bias)
    buffer, out = guarded(expected.shape, case.dtype)
    run(config, x, weight, bias, case.origin, case.size, case.relu, case.pool, out)
    assert launches[0] == f"conv_{config.variant}_kernel"
    check(out, buffer, expected)


CHAIN = (12, 14)
"""The image in the middle of a canvas that is 9 rows and 8 columns larger on each side."""


def test_a_rectangle_in_a_ring_equals_the_whole_canvas(launches: list[str], on: Callable[[Target], None]) -> None:
    """conv, conv + pool, conv: on what depends on the image alone, with rings that hold what does not."""
    on(HOPPER)
    layers = [
        Case(1, CHAIN, a, b, pool=pool).tensors()[1:] for a, b, pool in ((8, 16, False), (16, 8, True), (8, 8, False))
    ]
    canvas = torch.zeros(1, 31, 31, 8, dtype=F16)
    rectangles = ((8, 22, 7, 23), (6, 24, 6, 24), (2, 13, 2, 13))  # the second is widened to the pool's windows

    def dense(image: Tensor) -> list[Tensor]:
        maps = [image]
        for (weight, bias), pool in zip(layers, (False, True, False), strict=True):
            full = F.conv2d(
                maps[-1].double().permute(0, 3, 1, 2), weight.double().permute(2, 3, 0, 1), bias.double(), padding=1
            )
            full = F.max_pool2d(full.relu(), 2, ceil_mode=True) if pool else full.relu()
            maps.append(full.permute(0, 2, 3, 1).to(F16))
        return maps

    constants = dense(canvas)
    canvas[:, 9:21, 8:22] = torch.randn(1, 12, 14, 8)
    expected, buffers = dense(canvas), [canvas, *(ring.clone() for ring in constants[1:])]
    for index, ((weight, bias), (top, bottom, left, right)) in enumerate(zip(layers, rectangles, strict=True)):
        x, whole, pool = buffers[index], buffers[index + 1], index == 1
        outside = torch.ones(whole.shape, dtype=torch.bool)
        if pool:
            out = whole[:, top // 2 : bottom // 2, left // 2 : right // 2]
            outside[:, top // 2 : bottom // 2, left // 2 : right // 2] = False
        else:
            out = whole[:, top:bottom, left:right]
            outside[:, top:bottom, left:right] = False
        before = whole[outside].clone()
        # x begins a row and a column outside the rectangle's own demand, as a view of a ring does.
        view = x[:, top - 2 : bottom + 2, left - 2 : right + 2]
        conv(view, weight, bias, size=(bottom - top, right - left), origin=(1, 1), pool=pool, out=out.fill_(torch.nan))
        assert torch.equal(whole[outside], before)
    for found, wanted in zip(buffers[1:], expected[1:], strict=True):
        torch.testing.assert_close(found, wanted, rtol=2e-3, atol=2e-3)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's, at inf - inf
@pytest.mark.parametrize("target", [HOPPER, AMPERE], ids=lambda target: f"sm_{target.capability}")
@pytest.mark.parametrize("pool", [False, True], ids=["conv", "pool"])
def test_nan_and_infinity_stay_where_they_belong(
    pool: bool, target: Target, launches: list[str], on: Callable[[Target], None]
) -> None:
    on(target)
    x = torch.zeros(1, 8, 8, 8, dtype=F32)
    x[0, 2, 3, 5], x[0, 6, 6, 1] = torch.nan, torch.inf
    weight = torch.ones(3, 3, 8, 8)
    out = conv(x, weight, torch.zeros(8), size=(8, 8), origin=(-1, -1), pool=pool)
    expected = torch.zeros(8, 8)
    expected[1:4, 2:5], expected[5:8, 5:8] = torch.nan, torch.inf
    if pool:
        expected = F.max_pool2d(expected[None], 2)[0]
    assert torch.equal(out[0].isnan(), expected.isnan()[..., None].expand_as(out[0]))
    assert torch.equal(out[0].isinf(), expected.isinf()[..., None].expand_as(out[0]))


def test_splits_are_added_up_in_the_same_order(launches: list[str], on: Callable[[Target], None]) -> None:
    case = Case(1, (6, 7), 24, 16)
    x, weight, bias = case.tensors()
    config = ConvConfig("descriptor", 64, 8, 8, 16, 4, 3, splits=5)
    results = [torch.empty(1, 6, 7, 16, dtype=F16) for _ in range(2)]
    for out in results:
        run(config, x, weight, bias, case.origin, case.size, True, False, out)
    assert launches == ["conv_descriptor_kernel", "conv_reduce_kernel"] * 2
    assert torch.equal(*results)
    expected = oracle(case, x, weight, bias)
    assert (results[0].double() - expected).norm() <= 1e-3 * expected.norm()


@dataclass(frozen=True)
class First:
    """A first layer: an image, normalised on the way."""

    batch: int
    image: tuple[int, int]
    size: tuple[int, int]
    channels: int = 3
    out_channels: int = 64
    kernel: int = 3
    stride: int = 1
    origin: tuple[int, int] = (-1, -1)
    given: torch.dtype = torch.uint8
    dtype: torch.dtype = F16
    planes: bool = False
    """the image comes as [N,C,H,W]"""

    def __str__(self) -> str:
        given, dtype = (str(each).removeprefix("torch.") for each in (self.given, self.dtype))
        layout = "nchw" if self.planes else "nhwc"
        return f"{self.batch}x{self.image}-{self.channels}to{self.out_channels}-k{self.kernel}-{given}-{layout}-{dtype}"


FIRST = (
    First(2, (9, 11), (9, 11)),
    First(1, (5, 4), (13, 12), origin=(-5, -4)),  # wide padding, as the originals have it
    First(1, (7, 6), (3, 4), origin=(2, 1), dtype=F32),
    First(2, (3, 9), (3, 9), channels=6, out_channels=21, given=F32, planes=True),  # colour and HHA
    First(1, (12, 13), (2, 7), channels=4, kernel=7, stride=2, origin=(-3, -3), out_channels=24, given=F16),
    First(1, (30, 27), (2, 5), kernel=11, stride=4, origin=(-2, -1), out_channels=40, dtype=F32, given=F32),
    First(1, (1, 1), (1, 1), out_channels=5),
)


@pytest.mark.parametrize("case", FIRST, ids=str)
def test_conv_first(case: First, launches: list[str]) -> None:
    image = torch.randint(0, 256, (case.batch, *case.image, case.channels)).to(case.given)
    if case.planes:
        image = image.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    order = list(range(case.channels))[::-1]
    mean, std = [100.0 + channel for channel in order], [50.0 + channel for channel in order]
    layer = torch.randn(case.out_channels, case.channels, case.kernel, case.kernel)
    layer, bias = layer / (case.channels * case.kernel**2) ** 0.5, torch.randn(case.out_channels)
    weight, (scale, shift) = pack_first(layer, case.dtype, order), pack_normalization(1.0, mean, std, order)

    net_sees = (image[..., order].double() - torch.tensor(mean).double()) / torch.tensor(std).double()
    pad = 16
    x = F.pad(net_sees.permute(0, 3, 1, 2), [pad] * 4)[:, :, pad + case.origin[0] :, pad + case.origin[1] :]
    expected = F.conv2d(x, layer.to(case.dtype).double(), bias.double(), stride=case.stride).relu()
    expected = expected[:, :, : case.size[0], : case.size[1]].permute(0, 2, 3, 1)
    assert expected.shape[1:3] == case.size

    buffer, out = guarded(expected.shape, case.dtype)
    how: dict[str, Any] = {"size": case.size, "origin": case.origin, "stride": case.stride}
    conv_first(image, weight, bias, scale=scale, shift=shift, out=out, **how)
    assert launches == ["conv_first_kernel"]
    check(out, buffer, expected)


@pytest.mark.parametrize(
    "tile",
    [
        FirstTile(4, 32, 64, 32),
        FirstTile(8, 16, 16, 16),
        FirstTile(2, 128, 32, 32, num_warps=8),
        FirstTile(1, 16, 64, 32),
    ],
    ids=str,
)
def test_every_tile_of_the_first_layer(tile: FirstTile) -> None:
    """Of an image with gaps between its pixels that are NaN, as a view has them: none of them is read."""
    around = torch.full((2, 5, 40, 5), torch.nan)
    image = around[:, 2:, 1:-1:2, 1:-1].copy_(torch.randn(2, 3, 19, 3))
    weight, bias, scale, shift = (
        pack_first(torch.randn(40, 3, 3, 3), F32),
        torch.randn(40),
        torch.rand(3),
        torch.randn(3),
    )
    origin, size = [-2, -1], [4, 20]
    buffer, out = guarded((2, *size, 40), F32)
    launch_first(image, weight, bias, scale, shift, 1, origin, size, False, out, tile)
    check(out, buffer, reference_conv.conv_first(image, weight, bias, scale, shift, 1, origin, size, False).double())


def test_nan_reaches_what_looks_at_it(launches: list[str]) -> None:
    image = torch.zeros(1, 6, 7, 3)
    image[0, 2, 3, 1] = torch.nan
    out = conv_first(image, torch.ones(3, 3, 3, 8), torch.zeros(8), size=(6, 7), origin=(-1, -1))
    expected = torch.zeros(6, 7, dtype=torch.bool)
    expected[1:4, 2:5] = True
    assert torch.equal(out[0].isnan(), expected[..., None].expand_as(out[0]))


@pytest.mark.parametrize("case", FIRST[:4], ids=str)
def test_twin_of_the_first_layer(case: First) -> None:
    """The kernel and the twin round the normalised image alike, and differ in the order of their sums alone."""
    image = torch.randint(0, 256, (case.batch, *case.image, case.channels)).to(case.given)
    weight = pack_first(torch.randn(case.out_channels, case.channels, 3, 3), case.dtype)
    bias, (scale, shift) = (
        torch.randn(case.out_channels),
        pack_normalization(1 / 255, [0.4] * case.channels, [0.2] * case.channels),
    )
    result = conv_first(image, weight, bias, scale=scale, shift=shift, size=case.size, origin=case.origin)
    twin = reference_conv.conv_first(image, weight, bias, scale, shift, 1, case.origin, case.size, True)
    assert (result.dtype, result.stride()) == (twin.dtype, twin.stride())
    torch.testing.assert_close(result, twin, rtol=2e-3, atol=2e-3)
