"""The coarsest scores: long sums in parts, windows, weights of two terms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from fcnrt_kernels import score
from fcnrt_kernels.config import select_score_tile
from fcnrt_kernels.packing import pack_score
from fcnrt_kernels.score import run as run_tile


def tensors(dtype: torch.dtype, *, classes: int, channels: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x = torch.randn(2, 7, 6, channels).to(dtype).permute(0, 3, 1, 2)
    return x, torch.randn(classes, channels, 1, 1) / channels**0.5, torch.randn(classes)


def expected(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    window = x[:, :, 1:6, 2:5].double()
    return torch.einsum("ck,nkyx->ncyx", weight[:, :, 0, 0].double(), window) + bias.double()[:, None, None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=["float32", "float16"])
@pytest.mark.parametrize(("classes", "channels"), [(21, 520), (1, 3), (67, 130)])
def test_a_window(classes: int, channels: int, dtype: torch.dtype, run: Any, guarded: Any) -> None:
    x, weight, bias = tensors(dtype, classes=classes, channels=channels)
    out = guarded((2, classes, 5, 3), torch.float32, poison=float("nan"))
    tile = select_score_tile(classes, channels, 30, dtype.itemsize)
    kernels = ["score_kernel"] + ["score_sum_kernel"] * (tile.splits > 1)
    run(kernels, score, x, pack_score(weight, dtype), bias, size=(5, 3), offset=(1, 2), out=out)
    # float16 alone would round the weights to 5e-4 of their size.
    torch.testing.assert_close(out.double(), expected(x, weight, bias), rtol=0, atol=1e-5)


@pytest.mark.parametrize("splits", [1, 2, 5])
def test_parts_are_added_up(splits: int, guarded: Any) -> None:
    """Also where the last part is shorter than the others, or empty."""
    x, weight, bias = tensors(torch.float16, classes=5, channels=70)
    out = guarded((2, 5, 5, 3), torch.float32, poison=float("nan"))
    tile = replace(select_score_tile(5, 70, 30, 2), block_k=16, splits=splits)
    run_tile(tile, x, pack_score(weight, torch.float16), bias, (1, 2), (5, 3), out)
    torch.testing.assert_close(out.double(), expected(x, weight, bias), rtol=0, atol=1e-5)


def test_nan_stays_where_it_is() -> None:
    x, weight, bias = tensors(torch.float32, classes=3, channels=40)
    x[1, 39, 4, 3] = float("nan")
    out = score(x, pack_score(weight, torch.float32), bias, size=(7, 6))
    assert out[1, :, 4, 3].isnan().all()
    assert int(out.isnan().sum()) == 3
