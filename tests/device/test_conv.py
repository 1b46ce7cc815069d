"""The convolutions on the device, against ``torch.nn.functional`` in float64 on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fcnrt_kernels import conv, conv_first, gpu, reference_conv
from fcnrt_kernels.conv import problem_of, run
from fcnrt_kernels.conv_config import candidates
from fcnrt_kernels.dispatch import runs_triton
from fcnrt_kernels.packing import pack_conv, pack_first

pytestmark = pytest.mark.gpu

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
GUARD = 3
"""Rows and columns around every output that must not be touched."""

Record = Callable[[str, object], None]
by_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))


@dataclass(frozen=True)
class Case:
    """A window of a map whose ring is as wide as the window reaches, and a little wider."""

    batch: int
    size: tuple[int, int]
    channels: int
    out_channels: int
    kernel: int = 3
    origin: tuple[int, int] = (-1, -1)
    pool: bool = False

    def __str__(self) -> str:
        rows, columns = self.size
        pool = "-pool" if self.pool else ""
        window = f"{self.batch}x{rows}x{columns}-{self.channels}to{self.out_channels}"
        return f"{window}-k{self.kernel}-at{self.origin[0]}{pool}"

    def tensors(self, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        shape = (self.batch, *(length + self.kernel for length in self.size), self.channels)
        x = torch.randn(shape, generator=generator).to(dtype)
        weight = torch.randn(self.out_channels, self.channels, self.kernel, self.kernel, generator=generator)
        fan_in = self.channels * self.kernel**2
        return x, pack_conv(weight / fan_in**0.5, dtype), torch.randn(self.out_channels, generator=generator)


CASES = (
    Case(1, (37, 45), 64, 64, pool=True),
    Case(2, (33, 31), 128, 256),
    Case(1, (44, 43), 512, 512, pool=True),
    Case(2, (16, 15), 96, 200, kernel=7, origin=(0, 0)),
    Case(3, (9, 8), 256, 136, kernel=1, origin=(0, 0)),
    Case(2, (21, 19), 8, 16, origin=(2, -3), pool=True),
    Case(1, (23, 22), 13, 21, pool=True),  # no multiple of 16 bytes
    Case(1, (1, 1), 3, 1),
)
SMALL = (CASES[0], CASES[5], CASES[6])


@by_dtype
@pytest.mark.parametrize("case", CASES, ids=str)
def test_conv(case: Case, dtype: torch.dtype, cuda: torch.device, record_property: Record) -> None:
    for seed in range(2):  # the second on a buffer that the first has left
        x, weight, bias = case.tensors(dtype, seed)
        expected = _oracle(case, x, weight, bias)
        buffer, out = _guarded(expected.shape, dtype, cuda)
        x, weight, bias = x.to(cuda), weight.to(cuda), bias.to(cuda)
        assert runs_triton(x)
        conv(x, weight, bias, size=case.size, origin=case.origin, pool=case.pool, out=out)
        _check(out, buffer, expected, record_property)


def _tiles() -> Iterator[tuple[Case, int]]:
    """Of each case the first, the last and some tiles between; how many there are depends on the GPU."""
    for case in CASES[:3]:
        yield from ((case, sixteenth) for sixteenth in range(16))


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize(("case", "sixteenth"), list(_tiles()), ids=str)
def test_tiles(case: Case, sixteenth: int, dtype: torch.dtype, cuda: torch.device, record_property: Record) -> None:
    x, weight, bias = case.tensors(dtype)
    expected = _oracle(case, x, weight, bias)
    x, weight, bias = x.to(cuda), weight.to(cuda), bias.to(cuda)
    buffer, out = _guarded(expected.shape, dtype, cuda)
    every = list(candidates(problem_of(x, weight, case.size, case.pool, out), gpu.target(x)))
    config = every[sixteenth * (len(every) - 1) // 15]
    run(config, x, weight, bias, case.origin, case.size, True, case.pool, out)
    _check(out, buffer, expected, record_property)


def test_tf32_only_where_torch_allows_it(cuda: torch.device) -> None:
    case = CASES[1]
    x, weight, bias = case.tensors(torch.float32)
    expected = _oracle(case, x, weight, bias)
    errors = []
    for allowed in (False, True):
        torch.backends.cudnn.allow_tf32 = allowed  # the fixture of this folder puts it back
        try:
            out = conv(x.to(cuda), weight.to(cuda), bias.to(cuda), size=case.size, origin=case.origin)
        finally:
            torch.backends.cudnn.allow_tf32 = False
        errors.append(float((out.cpu().double() - expected).norm() / expected.norm()))
    assert errors[0] <= 1e-5
    assert errors[1] <= 2e-3


@by_dtype
@pytest.mark.parametrize("given", [torch.uint8, torch.float32], ids=["uint8", "float32"])
def test_conv_first(given: torch.dtype, dtype: torch.dtype, cuda: torch.device, record_property: Record) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (2, 3, 41, 53), generator=generator).to(given)
    image = image.permute(0, 2, 3, 1) if given == torch.float32 else image.permute(0, 2, 3, 1).contiguous()
    weight = pack_first(torch.randn(64, 3, 3, 3, generator=generator) / 5, dtype)
    bias, scale, shift = torch.randn(64), torch.full((3,), 1 / 64), torch.tensor([-2.0, -1.9, -1.8])
    size, origin = (60, 71), (-9, -10)
    normalised = ((image.double() * scale + shift).to(dtype)).double()
    expected = reference_conv.conv_first(
        normalised, weight.double(), bias.double(), torch.ones(3), torch.zeros(3), 1, origin, size, True
    )
    buffer, out = _guarded(expected.shape, dtype, cuda)
    moved: dict[str, Any] = {"scale": scale.to(cuda), "shift": shift.to(cuda), "size": size, "origin": origin}
    image = torch.empty_strided(image.shape, image.stride(), dtype=given, device=cuda).copy_(image)
    conv_first(image, weight.to(cuda), bias.to(cuda), out=out, **moved)
    _check(out, buffer, expected, record_property)


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_small_for_the_sanitizer(case: Case, cuda: torch.device, record_property: Record) -> None:
    """Every variant on few tiles, splits too: what ``benchmarks.device`` runs under compute-sanitizer."""
    x, weight, bias = case.tensors(torch.float16)
    expected = _oracle(case, x, weight, bias)
    x, weight, bias = x.to(cuda), weight.to(cuda), bias.to(cuda)
    problem = problem_of(x, weight, case.size, case.pool)
    kinds = {(config.variant, config.splits > 1): config for config in candidates(problem, gpu.target(x))}
    for config in kinds.values():
        buffer, out = _guarded(expected.shape, torch.float16, cuda)
        run(config, x, weight, bias, case.origin, case.size, True, case.pool, out)
        _check(out, buffer, expected, record_property)


def test_opcheck(cuda: torch.device) -> None:
    """What torch asks of a custom op, on GPU tensors: schema, fake outputs, dispatch under compile."""
    x, weight, bias = (tensor.to(cuda) for tensor in CASES[5].tensors(torch.float16))
    torch.library.opcheck(torch.ops.fcnrt.conv.default, (x, weight, bias, [-1, -1], [9, 8], True, True))


def _oracle(case: Case, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A convolution of all of ``x`` with zeros around it, then a crop, ReLU and pool: float64 NHWC."""
    pad = 8
    full = F.conv2d(x.double().permute(0, 3, 1, 2), weight.double().permute(2, 3, 0, 1), bias.double(), padding=pad)
    top, left = (pad + first for first in case.origin)
    full = full[:, :, top : top + case.size[0], left : left + case.size[1]].relu()
    full = F.max_pool2d(full, 2, ceil_mode=True) if case.pool else full
    return full.permute(0, 2, 3, 1)


def _guarded(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """A poisoned NHWC buffer, and the output in the middle of it."""
    n, rows, columns, channels = shape
    buffer = torch.full((n, rows + 2 * GUARD, columns + 2 * GUARD, channels), torch.nan, dtype=dtype, device=device)
    return buffer, buffer[:, GUARD:-GUARD, GUARD:-GUARD]


def _check(out: Tensor, buffer: Tensor, expected: Tensor, record_property: Record) -> None:
    """Inputs are exact and sums are float32: what is left is the rounding of the result."""
    error = float((out.cpu().double() - expected).norm() / expected.norm())
    record_property("relative_error", error)
    assert error <= max(1e-5, torch.finfo(out.dtype).eps)
    assert not out.isnan().any(), "part of the output was not written"
    out.fill_(torch.nan)
    assert bool(buffer.isnan().all()), "something was written outside the output"
