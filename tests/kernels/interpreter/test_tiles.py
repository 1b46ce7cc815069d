"""Every tile that the configuration can choose runs, and runs right, with a window that fills no tile."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from fcnrt_kernels import reference, score_upsample_add, upsample_argmax, upsample_crop
from fcnrt_kernels.config import MatrixTile, PixelTile, select_matrix_tile, select_pixel_tile

PIXEL_TILES: dict[PixelTile, tuple[int, int]] = {}
for _size in itertools.product((1, 2, 3, 5, 11, 23, 45, 70), (3, 16, 17, 33, 70)):
    PIXEL_TILES.setdefault(select_pixel_tile(*_size), _size)

MATRIX_TILES: dict[MatrixTile, tuple[int, int, torch.dtype]] = {}
for _classes, _channels, _dtype in itertools.product((3, 17, 35, 70), (3, 17, 35, 67), (torch.float32, torch.float16)):
    MATRIX_TILES.setdefault(select_matrix_tile(_classes, _channels, _dtype.itemsize), (_classes, _channels, _dtype))


@pytest.mark.parametrize("size", PIXEL_TILES.values(), ids=str)
def test_pixel_tiles(size: tuple[int, int], run: Any, guarded: Any) -> None:
    scores = torch.randn(1, 2, size[0] // 2 + 2, size[1] // 2 + 2)
    window: dict[str, Any] = {"kernel": 4, "stride": 2, "offset": (1, 2), "size": size}
    taps = torch.randn(2, 4, 4)
    logits = reference.upsample_crop(scores, taps, **window)
    labels = guarded((1, *size), torch.uint8, poison=255)
    run("upsample_argmax_kernel", upsample_argmax, scores, taps=taps, **window, out=labels)
    decided = (logits[:, 0] - logits[:, 1]).abs() > 1e-5
    assert torch.equal(labels[decided].long(), logits.argmax(1)[decided])
    out = guarded((1, 2, *size), torch.float32, poison=float("nan"))
    run("upsample_crop_kernel", upsample_crop, scores, taps=taps, **window, out=out)
    torch.testing.assert_close(out, logits)


@pytest.mark.parametrize(
    ("classes", "channels", "dtype"), MATRIX_TILES.values(), ids=lambda value: str(value).removeprefix("torch.")
)
@pytest.mark.parametrize("mixed", [False, True], ids=["depthwise", "dense"])
def test_matrix_tiles(classes: int, channels: int, dtype: torch.dtype, mixed: bool, run: Any, guarded: Any) -> None:
    """The score kernel, and for dense taps the kernels that take the same tile for the classes alone."""
    size = (9, 8) if classes < 20 else (3, 5)
    window: dict[str, Any] = {"kernel": 4, "stride": 2, "offset": (2, 1), "size": size}
    coarse = torch.randn(1, classes, 5, 5)
    taps = torch.randn(classes, classes, 4, 4) if mixed else torch.randn(classes, 4, 4)
    skip, weight = torch.randn(1, channels, 10, 10).to(dtype), torch.randn(classes, channels).to(dtype)
    arguments: dict[str, Any] = {**window, "taps": taps, "skip_offset": (1, 0), "scale": 0.5}
    out = guarded((1, classes, *size), torch.float32, poison=float("nan"))
    bias = torch.randn(classes)
    run("score_upsample_add_kernel", score_upsample_add, coarse, skip, weight, bias, **arguments, out=out)
    torch.testing.assert_close(
        out, reference.score_upsample_add(coarse, skip, weight, bias, **arguments), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(("classes", "dtype"), [(3, torch.float32), (17, torch.float16), (70, torch.float16)])
def test_matrix_tiles_of_dense_upsampling(classes: int, dtype: torch.dtype, run: Any, guarded: Any) -> None:
    window: dict[str, Any] = {"kernel": 4, "stride": 2, "offset": (2, 1), "size": (17, 18) if classes < 9 else (3, 5)}
    scores, taps = torch.randn(1, classes, 10, 10).to(dtype), torch.randn(classes, classes, 4, 4)
    logits = reference.upsample_crop(scores, taps, **window)
    out = guarded(logits.shape, torch.float32, poison=float("nan"))
    run("upsample_crop_dense_kernel", upsample_crop, scores, taps=taps, **window, out=out)
    torch.testing.assert_close(out, logits, rtol=1e-4, atol=1e-4)
    labels = guarded((1, *window["size"]), torch.uint8, poison=255)
    run("upsample_argmax_dense_kernel", upsample_argmax, scores, taps=taps, **window, out=labels)
    best = logits.topk(2, dim=1).values
    decided = best[:, 0] - best[:, 1] > 1e-3
    assert torch.equal(labels[decided].long(), logits.argmax(1)[decided])
