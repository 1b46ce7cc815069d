"""Every fused op on the device, against layers of torch.nn in float64 on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.compositions import (
    KINDS,
    Deconvolved,
    Interpolate,
    ScoreUpsampleAdd,
    UpsampleCrop,
    deconvolution_weight,
)
from fcnrt.engine.taps import inspect_taps
from fcnrt_kernels import reference, score, score_upsample_add, upsample_argmax, upsample_crop
from fcnrt_kernels.dispatch import runs_triton
from fcnrt_kernels.packing import pack_score

pytestmark = pytest.mark.gpu

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
ERROR = 1e-5
"""Inputs are exact, whatever their type, and sums are float32: over at most 512 terms they lose no more."""
GUARD = 3
"""Entries around every output that must not be touched."""

Record = Callable[[str, object], None]


@dataclass(frozen=True)
class Case:
    """A window of an upsampled map, and the skip that is added to it (its own offset is one more)."""

    batch: int
    classes: int
    coarse: tuple[int, int]
    kernel: int
    stride: int
    offset: tuple[int, int]
    size: tuple[int, int]
    channels: int = 5
    layout: str = "contiguous"

    def __str__(self) -> str:
        height, width = self.size
        shape = f"{self.batch}x{self.classes}x{height}x{width}"
        return f"{shape}-k{self.kernel}s{self.stride}-{self.channels}ch-{self.layout}"

    def window(self, kind: str) -> Deconvolved:
        weight = deconvolution_weight(kind, self.classes, self.kernel)
        return Deconvolved(weight, self.stride, self.offset, self.size)

    def oracle(self, kind: str) -> UpsampleCrop | Interpolate:
        module = UpsampleCrop(self.window(kind)) if kind in KINDS else Interpolate(kind, self.size)
        return module.double()

    def arguments(self, kind: str, device: torch.device) -> dict[str, Any]:
        """The same for the fused ops."""
        if kind not in KINDS:
            return {"rule": kind, "size": self.size}
        return arguments(self.window(kind), device)

    def scores(self, dtype: torch.dtype, seed: int = 0) -> Tensor:
        return _laid_out(_random((self.batch, self.classes, *self.coarse), seed), self.layout).to(dtype)

    def skip(self, dtype: torch.dtype) -> Tensor:
        shape = (self.batch, self.channels, self.size[0] + 3, self.size[1] + 2)
        return _laid_out(_random(shape, 1), self.layout).to(dtype)


CASES = (
    Case(1, 21, (14, 18), 4, 2, (1, 0), (26, 33), channels=512, layout="channels_last"),
    Case(1, 21, (49, 65), 16, 8, (7, 3), (375, 500), channels=256, layout="channels_last"),
    Case(3, 21, (6, 7), 16, 8, (5, 6), (33, 47), channels=96, layout="strided"),
    Case(2, 1, (1, 1), 4, 2, (1, 2), (1, 1), channels=1),
    Case(1, 9, (5, 3), 64, 32, (19, 19), (67, 41), channels=33),
    Case(1, 21, (4, 9), 32, 16, (27, 0), (29, 127), channels=64, layout="channels_last"),
    Case(1, 70, (5, 6), 16, 8, (31, 31), (13, 21), channels=128),
    Case(1, 300, (3, 4), 5, 2, (0, 1), (7, 9), channels=17, layout="strided"),
)
KINDS_AND_RULES = (*KINDS, "half_pixel", "align_corners", "nearest")


def _problems() -> Iterator[tuple[Case, str, torch.dtype]]:
    """Every kind in every type, and every case in every type: not their product, since each compiles a kernel."""
    for index, case in enumerate(CASES):
        for number, dtype in enumerate(DTYPES):
            one = KINDS_AND_RULES[(index + number) % len(KINDS_AND_RULES)]
            for kind in KINDS_AND_RULES if index == 0 else dict.fromkeys((one, "bilinear")):
                yield case, kind, dtype


by_problem = pytest.mark.parametrize(
    ("case", "kind", "dtype"), list(_problems()), ids=lambda value: str(value).removeprefix("torch.")
)


def arguments(window: Deconvolved, device: torch.device) -> dict[str, Any]:
    """A window of a transposed convolution as the fused ops take it."""
    taps = inspect_taps(window.weight)
    return {
        "kernel": window.kernel,
        "stride": window.stride,
        "offset": window.offset,
        "size": window.size,
        "taps": None if taps is None else taps.to(device),
    }


@by_problem
def test_score_upsample_add(
    case: Case, kind: str, dtype: torch.dtype, cuda: torch.device, record_property: Record
) -> None:
    coarse, skip = case.scores(torch.float32), case.skip(dtype)
    weight = (_random((case.classes, case.channels), 2) / case.channels**0.5).to(dtype)
    bias, scale = _random((case.classes,), 3), 0.37
    oracle = ScoreUpsampleAdd(case.oracle(kind), weight.double() * scale, bias, (1, 1)).double()
    expected = oracle(coarse.double(), skip.double())

    guarded, out = _guarded((case.batch, case.classes, *case.size), torch.float32, cuda)
    coarse, skip = _moved(coarse, cuda), _moved(skip, cuda)
    assert runs_triton(coarse)
    score_upsample_add(
        coarse,
        skip,
        weight.to(cuda),
        bias.to(cuda),
        skip_offset=(1, 1),
        scale=scale,
        out=out,
        **case.arguments(kind, cuda),
    )
    _check_scores(out, expected, record_property)
    _check_guard(guarded)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize("shape", [(1, 21, 4096, 16, 16), (3, 67, 130, 5, 7), (16, 21, 512, 16, 15)], ids=str)
def test_score(
    shape: tuple[int, int, int, int, int], dtype: torch.dtype, cuda: torch.device, record_property: Record
) -> None:
    batch, classes, channels, height, width = shape
    x = _laid_out(_random((batch, channels, height + 2, width + 3), 4), "channels_last").to(dtype)
    weight, bias = _random((classes, channels), 5) / channels**0.5, _random((classes,), 6)
    window = x[:, :, 1 : 1 + height, 2 : 2 + width].double()
    expected = torch.einsum("ck,nkyx->ncyx", weight.double(), window) + bias.double()[:, None, None]
    guarded, out = _guarded((batch, classes, height, width), torch.float32, cuda)
    packed = pack_score(weight.to(cuda), dtype)
    score(_moved(x, cuda), packed, bias.to(cuda), size=(height, width), offset=(1, 2), out=out)
    _check_scores(out, expected, record_property)
    _check_guard(guarded)


@by_problem
def test_upsample_crop(case: Case, kind: str, dtype: torch.dtype, cuda: torch.device, record_property: Record) -> None:
    scores = case.scores(dtype)
    expected = case.oracle(kind)(scores.double())
    guarded, out = _guarded((case.batch, case.classes, *case.size), torch.float32, cuda)
    upsample_crop(_moved(scores, cuda), out=out, **case.arguments(kind, cuda))
    _check_scores(out, expected, record_property)
    _check_guard(guarded)


@by_problem
def test_upsample_argmax(
    case: Case, kind: str, dtype: torch.dtype, cuda: torch.device, record_property: Record
) -> None:
    """Labels, with and without the probability; they may differ from the oracle's where two scores all but tie."""
    scores = case.scores(dtype)
    logits = case.oracle(kind)(scores.double())
    labels_type = reference.label_dtype(case.classes)
    shape = (case.batch, *case.size)
    guarded, labels = _guarded(shape, labels_type, cuda)
    guarded_twice, labels_too = _guarded(shape, labels_type, cuda)
    guarded_probability, probability = _guarded(shape, torch.float32, cuda)
    arguments = case.arguments(kind, cuda)
    upsample_argmax(_moved(scores, cuda), out=labels, **arguments)
    upsample_argmax(_moved(scores, cuda), confidence=True, out=(labels_too, probability), **arguments)

    best = logits.amax(dim=1)
    for name, found in (("labels", labels.cpu().long()), ("labels_with_confidence", labels_too.cpu().long())):
        differing = int((found != logits.argmax(dim=1)).sum())
        record_property(f"differing_{name}", differing)
        lost = float((best - logits.gather(1, found[:, None])[:, 0]).amax())
        assert lost <= ERROR * logits.abs().amax(), f"{differing} labels differ, the worst by a score of {lost:.1e}"
    # The kernel's exponentials are the GPU's fast ones, and the usual output is float16.
    expected = logits.softmax(dim=1).amax(dim=1)
    torch.testing.assert_close(probability.cpu().double(), expected, rtol=1e-3, atol=1e-5)
    for buffer in (guarded, guarded_twice, guarded_probability):
        _check_guard(buffer)


@pytest.mark.parametrize("kind", KINDS)
def test_ties_go_to_the_lowest_class(kind: str, cuda: torch.device) -> None:
    """Small whole numbers and taps of a few bits: every sum is exact, and many are equal."""
    case = Case(2, 21, (9, 11), 16, 8, (3, 5), (61, 70))
    scores = torch.randint(0, 3, (2, 21, 9, 11), generator=torch.Generator().manual_seed(0)).float()
    weight = (deconvolution_weight(kind, 21, 16) * 256).round() / 256
    window = Deconvolved(weight, case.stride, case.offset, case.size)
    logits = UpsampleCrop(window).double()(scores.double())
    top = logits.topk(2, dim=1).values
    assert (top[:, 0] == top[:, 1]).any()
    labels = upsample_argmax(scores.to(cuda), **arguments(window, cuda))
    assert torch.equal(labels.cpu().long(), logits.argmax(dim=1))


@pytest.mark.parametrize("kind", ["bilinear", "depthwise"])
def test_nan_wins_where_it_reaches(kind: str, cuda: torch.device) -> None:
    """As in ``torch.argmax``, and nowhere else: classes that do not mix keep their NaN to themselves."""
    case = Case(1, 21, (9, 11), 16, 8, (3, 5), (61, 70))
    scores = case.scores(torch.float32)
    scores[0, 7, 4, 5] = scores[0, 3, 4, 6] = torch.nan
    scores[0, 11, 0, 0] = torch.inf
    expected = reference.upsample_argmax(scores.double(), **case.arguments(kind, torch.device("cpu")))
    labels = upsample_argmax(scores.to(cuda), **case.arguments(kind, cuda))
    assert {3, 7} <= set(expected.flatten().tolist())
    assert torch.equal(labels.cpu(), expected)


@pytest.mark.parametrize("out_dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_narrow_outputs_round_once(out_dtype: torch.dtype, cuda: torch.device) -> None:
    case, kind = CASES[2], "bilinear"
    scores = case.scores(torch.float32)
    expected = case.oracle(kind)(scores.double())
    guarded, out = _guarded((case.batch, case.classes, *case.size), out_dtype, cuda)
    upsample_crop(_moved(scores, cuda), out=out, **case.arguments(kind, cuda))
    error = (out.cpu().double() - expected).norm() / expected.norm()
    assert error <= torch.finfo(out_dtype).eps / 2
    _check_guard(guarded)


def test_opcheck(cuda: torch.device) -> None:
    """What torch asks of a custom op, on GPU tensors: schema, fake outputs, dispatch under compile."""
    case = CASES[0]
    scores = _moved(case.scores(torch.float32), cuda)
    arguments = (scores, None, case.kernel, case.stride, list(case.offset), list(case.size), "transposed")
    for name in ("upsample_crop", "upsample_argmax", "upsample_argmax_confidence"):
        torch.library.opcheck(getattr(torch.ops.fcnrt, name).default, arguments)


def _random(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _laid_out(x: Tensor, layout: str) -> Tensor:
    if layout == "channels_last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "strided":
        wide = x.repeat_interleave(2, dim=3)
        return wide[..., ::2]
    return x


def _moved(x: Tensor, device: torch.device) -> Tensor:
    """``x`` on the device, with the strides that it has here."""
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=device).copy_(x)


def _guarded(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """A poisoned buffer, and the output in the middle of it."""
    outer = [*shape[:-2], *(length + 2 * GUARD for length in shape[-2:])]
    buffer = torch.full(outer, torch.nan if dtype.is_floating_point else 77, dtype=dtype, device=device)
    return buffer, buffer[..., GUARD:-GUARD, GUARD:-GUARD]


def _check_guard(buffer: Tensor) -> None:
    inside = torch.zeros_like(buffer, dtype=torch.bool)
    inside[..., GUARD:-GUARD, GUARD:-GUARD] = True
    poisoned = buffer.isnan() if buffer.dtype.is_floating_point else buffer == 77
    assert poisoned[~inside].all(), "something was written outside the output"
    if buffer.dtype.is_floating_point:
        assert not poisoned[inside].any(), "part of the output was not written"


def _check_scores(out: Tensor, expected: Tensor, record_property: Record) -> None:
    error = float((out.cpu().double() - expected).norm() / expected.norm())
    record_property("relative_error", error)
    assert error <= ERROR
