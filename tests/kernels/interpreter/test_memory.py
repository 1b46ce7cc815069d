"""What the kernels may touch, and in which types: views, buffers of any type, empty batches, shared storage."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fcnrt_kernels import reference, score_upsample_add, upsample_argmax, upsample_crop

WINDOW: dict[str, Any] = {"kernel": 4, "stride": 2, "offset": (1, 2), "size": (5, 4)}
DENSE = torch.linspace(-1, 1, 2 * 2 * 4 * 4).view(2, 2, 4, 4)


@pytest.mark.parametrize("taps", [None, DENSE], ids=["bilinear", "dense"])
def test_inputs_of_any_strides(taps: torch.Tensor | None, run: Any, lay_out: Any) -> None:
    """The result is the same bit for bit: the sums are formed in the same order."""
    coarse, skip = torch.randn(2, 2, 4, 4), torch.randn(2, 5, 8, 7)
    score: dict[str, Any] = {"weight": torch.randn(2, 5), "bias": torch.randn(2), "skip_offset": (2, 1)}
    dense = "dense_" if taps is DENSE else ""

    def results(layout: str) -> list[torch.Tensor]:
        scores = lay_out(coarse, layout)
        return [
            run(f"upsample_crop_{dense}kernel", upsample_crop, scores, taps=taps, **WINDOW),
            run(f"upsample_argmax_{dense}kernel", upsample_argmax, scores, taps=taps, **WINDOW),
            run(
                "score_upsample_add_kernel",
                score_upsample_add,
                scores,
                lay_out(skip, layout),
                taps=taps,
                **score,
                **WINDOW,
            ),
        ]

    expected = results("contiguous")
    for layout in ("channels_last", "view", "transposed"):
        assert all(map(torch.equal, results(layout), expected)), layout


def test_one_image_for_the_whole_batch(run: Any) -> None:
    scores = torch.randn(1, 3, 4, 4)
    labels = run("upsample_argmax_kernel", upsample_argmax, scores.expand(3, -1, -1, -1), **WINDOW)
    assert torch.equal(labels, reference.upsample_argmax(scores, None, **WINDOW).expand(3, -1, -1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_logits_and_scores_into_any_type(dtype: torch.dtype, run: Any, guarded: Any) -> None:
    coarse, skip, weight = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 8, 7), torch.randn(3, 5)
    bias = torch.randn(3, dtype=dtype)
    out = guarded((2, 3, 5, 4), dtype, poison=float("nan"))
    run("upsample_crop_kernel", upsample_crop, coarse, **WINDOW, out=out)
    torch.testing.assert_close(out, reference.upsample_crop(coarse, None, **WINDOW).to(dtype))
    out = guarded((2, 3, 5, 4), dtype, poison=float("nan"), last=True)
    window = {**WINDOW, "skip_offset": (2, 1)}
    run("score_upsample_add_kernel", score_upsample_add, coarse, skip, weight, bias, **window, out=out)
    expected = reference.score_upsample_add(coarse, skip, weight, bias, None, **window, scale=1.0)
    torch.testing.assert_close(out, expected.to(dtype))


def test_new_outputs_are_those_of_the_twin(run: Any) -> None:
    """Type, shape and strides of a result do not depend on who computes it."""
    scores = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    for name, op, twin in (
        ("upsample_crop_kernel", upsample_crop, reference.upsample_crop),
        ("upsample_argmax_kernel", upsample_argmax, reference.upsample_argmax),
    ):
        result, expected = run(name, op, scores, **WINDOW), twin(scores, None, **WINDOW)
        assert (result.dtype, result.stride()) == (expected.dtype, expected.stride())
    results = run("upsample_argmax_kernel", upsample_argmax, scores, confidence=True, **WINDOW)
    twins = reference.upsample_argmax_confidence(scores, None, **WINDOW)
    assert [r.stride() for r in results] == [t.stride() for t in twins]
    assert [r.dtype for r in results] == [torch.uint8, torch.float16]


@pytest.fixture
def far(tmp_path: Path) -> Callable[[torch.Tensor, int], torch.Tensor]:
    """Lays a tensor out such that its last entry along one axis lies beyond 2^31 elements, in a file of holes."""
    files = itertools.count()

    def far(x: torch.Tensor, axis: int) -> torch.Tensor:
        strides = list(x.stride())
        strides[axis] = (1 << 31) // (x.shape[axis] - 1) + 3
        reach = 1 + sum((edge - 1) * stride for edge, stride in zip(x.shape, strides, strict=True))
        memory = torch.from_file(str(tmp_path / f"{next(files)}"), shared=True, size=reach, dtype=x.dtype)
        return memory.as_strided(x.shape, strides).copy_(x)

    return far


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("taps", [None, DENSE], ids=["bilinear", "dense"])
def test_maps_beyond_two_to_the_31_elements(taps: torch.Tensor | None, axis: int, run: Any, far: Any) -> None:
    """Every sum is that of the same problem close by, bit for bit."""
    dense = "dense_" if taps is DENSE else ""
    coarse, skip = torch.randn(1, 2, 4, 4).half(), torch.randn(1, 5, 8, 7).half()
    score = (torch.randn(2, 5).half(), torch.randn(2))
    window = WINDOW | {"taps": taps}

    def near(x: torch.Tensor, axis: int) -> torch.Tensor:
        return x

    def results(read: Any, write: Any) -> list[torch.Tensor]:
        scores, features = read(coarse, axis), read(skip, axis)
        fine, logits = (write(torch.zeros(1, 2, 5, 4).half(), axis) for _ in range(2))
        best = [torch.zeros(1, 5, 4, dtype=dtype) for dtype in (torch.uint8, torch.float16)]
        if axis > 1:  # labels have no classes
            best = [write(x, axis - 1) for x in best]
        named = {"skip_offset": (2, 1), "out": fine}
        run("score_upsample_add_kernel", score_upsample_add, scores, features, *score, **window | named)
        run(f"upsample_crop_{dense}kernel", upsample_crop, scores, **window, out=logits)
        run(f"upsample_argmax_{dense}kernel", upsample_argmax, scores, confidence=True, **window, out=tuple(best))
        return [fine, logits, *best]

    expected = results(near, near)
    assert all(map(torch.equal, results(far, near), expected))
    assert all(map(torch.equal, results(near, far), expected))


def test_empty_batch_launches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from triton.runtime.interpreter import GridExecutor

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("there is nothing to launch a kernel for")

    monkeypatch.setattr(GridExecutor, "__call__", refuse)
    for taps in (None, DENSE[0], DENSE):
        scores = torch.zeros(0, 2, 4, 4)
        assert upsample_crop(scores, taps=taps, **WINDOW).shape == (0, 2, 5, 4)
        labels, confidence = upsample_argmax(scores, taps=taps, confidence=True, **WINDOW)
        assert labels.shape == confidence.shape == (0, 5, 4)
        added = score_upsample_add(
            scores, torch.zeros(0, 5, 8, 7), torch.zeros(2, 5), torch.zeros(2), taps=taps, skip_offset=(2, 1), **WINDOW
        )
        assert added.shape == (0, 2, 5, 4)
