"""Winograd's convolutions against float64, at sizes that no tile fits, and nothing written beside the output."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fcnrt.engine.cpu import winograd, winograd_large
from fcnrt.engine.cpu.toom_cook import matrices
from fcnrt.engine.cpu.winograd import DilatedWinogradConvolution, WinogradConvolution
from fcnrt.engine.cpu.winograd_large import LargeWinogradConvolution
from fcnrt.engine.planned.arena import Arena

CANARY = 12345.0


def guarded(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A view of ``shape`` inside a larger tensor, both full of canaries."""
    images, height, width, channels = shape
    outer = torch.full((images, height + 5, width + 7, channels), CANARY, dtype=dtype)
    return outer[:, 2:-3, 3:-4], outer


def untouched(outer: Tensor) -> bool:
    inside = torch.zeros(outer.shape, dtype=torch.bool)
    inside[:, 2:-3, 3:-4] = True
    return bool((outer[~inside] == CANARY).all())


def reference(x: Tensor, weight: Tensor, bias: Tensor, dilation: int, relu: bool) -> Tensor:
    y = F.conv2d(x.double().permute(0, 3, 1, 2), weight.double(), bias.double(), dilation=dilation)
    return (y.relu() if relu else y).permute(0, 2, 3, 1)


def make(channels: int, out_channels: int, dtype: torch.dtype, kernel: int = 3) -> tuple[Tensor, Tensor]:
    shape = out_channels, channels, kernel, kernel
    weight = torch.randn(shape, dtype=dtype) * (2 / kernel**2 / channels) ** 0.5
    return weight, torch.randn(out_channels, dtype=dtype)


@pytest.mark.parametrize("module", [winograd, winograd_large])
def test_the_matrices_convolve(module: Any) -> None:
    """In one dimension, and exactly: the points are fractions of small powers of two."""
    a, g, b = matrices(module.POINTS, module.TILE, module.TAPS)
    draw = np.random.default_rng(0)
    taps, inputs = draw.normal(size=module.TAPS), draw.normal(size=module.INPUTS)
    assert np.allclose(a @ ((g @ taps) * (b @ inputs)), np.convolve(inputs, taps[::-1], "valid"), atol=1e-13)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 4e-6)], ids=str)
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("tiles", [1, 5, 256])
def test_odd_sizes(dtype: torch.dtype, bound: float, relu: bool, tiles: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "STRIP_TILES", tiles)
    weight, bias = make(7, 5, dtype)
    convolution = WinogradConvolution(weight, bias, relu)
    arena = Arena(dtype)
    for images, height, width in ((1, 4, 4), (2, 5, 9), (1, 7, 6), (3, 13, 8), (2, 30, 39)):
        x = torch.randn(images, height + 2, width + 2, 7, dtype=dtype)
        expected = reference(x, weight, bias, 1, relu)
        out, outer = guarded((images, height, width, 5), dtype)
        convolution(x, out, arena.scratch)
        assert (out - expected).abs().max() <= bound * expected.abs().max()
        assert untouched(outer)
        if height % 2 == width % 2 == 0:
            pooled = F.max_pool2d(expected.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
            out, outer = guarded(tuple(pooled.shape), dtype)
            convolution(x, out, arena.scratch, pooled=True)
            assert (out - pooled).abs().max() <= bound * expected.abs().max()
            assert untouched(outer)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 2e-5)], ids=str)
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("tiles", [1, 5, 128])
def test_odd_sizes_of_7x7(
    dtype: torch.dtype, bound: float, relu: bool, tiles: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Maps that no tile fits, channels in parts that do not divide them, in a view with longer rows."""
    monkeypatch.setattr(winograd_large, "STRIP_TILES", tiles)
    monkeypatch.setattr(winograd_large, "CHANNELS", 4)
    monkeypatch.setattr(winograd_large, "PACKED_CHANNELS", 3)
    weight, bias = make(6, 10, dtype, kernel=7)
    convolution = LargeWinogradConvolution(weight, bias, relu)
    assert convolution.takes(1, 2) and not convolution.takes(1, 1)
    for images, height, width in ((1, 1, 1), (1, 1, 2), (2, 5, 9), (3, 4, 3), (1, 8, 16)):
        x = torch.randn(images, height + 9, width + 8, 6, dtype=dtype)[:, 2:-1, 1:-1]
        expected = reference(x, weight, bias, 1, relu)
        out, outer = guarded((images, height, width, 10), dtype)
        convolution(x, out, Arena(dtype).scratch)
        assert (out - expected).abs().max() <= bound * expected.abs().max()
        assert untouched(outer)


def test_a_view_with_a_longer_row() -> None:
    weight, bias = make(6, 4, torch.float64)
    outer = torch.randn(2, 20, 23, 6, dtype=torch.float64)
    x = outer[:, 3:16, 4:21]
    out = torch.empty(2, 11, 15, 4, dtype=torch.float64)
    WinogradConvolution(weight, bias, True)(x, out, Arena(torch.float64).scratch)
    assert torch.allclose(out, reference(x, weight, bias, 1, True), atol=1e-12)


@pytest.mark.parametrize("dilation", [2, 4])
def test_dilation(dilation: int) -> None:
    weight, bias = make(3, 5, torch.float64)
    convolution = DilatedWinogradConvolution(weight, bias, True, dilation)
    least = 4 * dilation
    assert convolution.takes(least, least) and not convolution.takes(least - 1, least)
    for height, width in ((least, least), (least + 1, least + 3), (29, 33)):
        x = torch.randn(2, height + 2 * dilation, width + 2 * dilation, 3, dtype=torch.float64)
        out, outer = guarded((2, height, width, 5), torch.float64)
        convolution(x, out, Arena(torch.float64).scratch)
        assert torch.allclose(out, reference(x, weight, bias, dilation, True), atol=1e-12)
        assert untouched(outer)


def test_nan_is_not_lost() -> None:
    weight, bias = make(3, 4, torch.float32)
    x = torch.randn(1, 18, 18, 3)
    x[0, 9, 9, 1] = float("nan")
    out = torch.empty(1, 16, 16, 4)
    WinogradConvolution(weight, bias, True)(x, out, Arena(torch.float32).scratch)
    assert out[0, 7:10, 7:10].isnan().all()
    assert not out[0, :4].isnan().any()
