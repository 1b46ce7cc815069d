"""The one-launch decoder as it is launched, compiled for GPUs that are not here."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

import fcnrt_kernels.op
from fcnrt_kernels import Refinement, decode_labels

aot = pytest.importorskip("fcnrt_kernels.aot", reason="needs Triton, which has no wheel for this platform")

pytestmark = pytest.mark.slow

BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32
FEW = 32
"""Bytes a thread may spill where the last word on a tile has to come from a GPU."""
BILINEAR, DEPTHWISE, DENSE = ("bilinear",) * 3, ("depthwise",) * 3, ("dense",) * 3


def taps_of(kind: str, classes: int, kernel: int) -> Tensor | None:
    shape = {"bilinear": 0, "depthwise": 1, "dense": 2}[kind] * (classes,)
    return torch.empty(*shape, kernel, kernel) if shape else None


def launch(
    monkeypatch: pytest.MonkeyPatch,
    kinds: tuple[str, ...],
    dtype: torch.dtype,
    *,
    batch: int = 1,
    classes: int = 21,
    confidence: bool = True,
) -> Any:
    """FCN-8s, or with two kinds FCN-16s, on a 500x500 image: the windows that its final crop uses."""
    levels = []
    for kind, channels, edge, size, skip_offset, offset in zip(
        kinds, (512, 256), (44, 88), (34, 65), (5, 11), (0, 2), strict=False
    ):
        skip = torch.empty(batch, channels, edge, edge, dtype=dtype).contiguous(memory_format=torch.channels_last)
        weight, bias, taps = (
            torch.empty(classes, channels, dtype=dtype),
            torch.empty(classes),
            taps_of(kind, classes, 4),
        )
        window = {"size": (size, size), "skip_offset": (skip_offset,) * 2, "offset": (offset,) * 2}
        levels.append(Refinement(skip, weight, bias, kernel=4, stride=2, taps=taps, **window))  # type: ignore[arg-type]
    stride = 8 if len(kinds) == 3 else 16
    last: dict[str, Any] = {"kernel": 2 * stride, "stride": stride, "taps": taps_of(kinds[-1], classes, 2 * stride)}
    with monkeypatch.context() as patch, aot.recorded_launches() as launches:
        patch.setattr(fcnrt_kernels.op, "runs_triton", lambda x: True)
        scores = torch.empty(batch, classes, 16, 16)
        decode_labels(scores, levels[: len(kinds) - 1], size=(500, 500), offset=(15, 15), **last, confidence=confidence)
    (made,) = launches
    return made


def assert_fits(compiled: Any, spilled: int = 0) -> None:
    assert compiled.spill_bytes <= spilled
    assert compiled.fits
    assert compiled.registers <= 255
    # A level is written by all threads before any of them reads it.
    stores = [at.start() for at in re.finditer(r"st\.global\S*\.b(16|32)", compiled.ptx)]
    assert stores
    assert re.search(r"bar(rier)?(\.cta)?\.sync", compiled.ptx[stores[0] :])


@pytest.mark.parametrize("capability", [80, 90, 100, 120])
@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize(("kinds", "dtype"), [(BILINEAR, BF16), (DENSE, BF16)], ids=str)
def test_fcn8s(
    kinds: tuple[str, ...], dtype: torch.dtype, batch: int, capability: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = launch(monkeypatch, kinds, dtype, batch=batch).compile(capability)
    assert_fits(compiled, spilled=FEW if (batch, capability) == (16, 80) else 0)
    assert compiled.matrix_instructions  # the scores of the skips


@pytest.mark.parametrize("capability", [80, 90, 100, 120])
@pytest.mark.parametrize("kinds", [BILINEAR, DENSE], ids=lambda kinds: kinds[0])
def test_float32(kinds: tuple[str, ...], capability: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact products of score layers keep both factors in registers, and a few too many of them."""
    assert_fits(launch(monkeypatch, kinds, F32).compile(capability), spilled=FEW)


@pytest.mark.parametrize(
    ("kinds", "options"),
    [
        (DEPTHWISE, {}),
        (DEPTHWISE, {"batch": 16}),
        (BILINEAR, {"confidence": False}),
        (BILINEAR, {"classes": 60}),
        (BILINEAR, {"classes": 60, "batch": 16}),
        (BILINEAR, {"classes": 151}),
        (BILINEAR, {"classes": 1}),
        (BILINEAR[:2], {}),
        (DENSE[:2], {}),
        (("dense", "bilinear", "depthwise"), {}),
        (("bilinear", "depthwise", "dense"), {}),
    ],
    ids=str,
)
def test_other_decoders_on_hopper(
    kinds: tuple[str, ...], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_fits(launch(monkeypatch, kinds, F16, **options).compile(90))
