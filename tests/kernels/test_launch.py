"""What the host tells a kernel beside its tensors."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
import torch

from fcnrt_kernels import launch


@pytest.mark.parametrize(
    ("setting", "precision"),
    [
        ("pass", "ieee"),
        ("torch.set_float32_matmul_precision('high')", "tf32"),
        ("torch.backends.cuda.matmul.fp32_precision = 'ieee'", "ieee"),
        ("torch.backends.cuda.matmul.fp32_precision = 'tf32'", "tf32"),
        ("torch.backends.fp32_precision = 'tf32'", "tf32"),
    ],
)
def test_tf32_where_torch_was_told_so(setting: str, precision: str) -> None:
    """By either of torch's two interfaces."""
    code = f"import torch\nfrom fcnrt_kernels import launch\n{setting}\nprint(launch.dot_precision())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (run.stdout.strip(), run.returncode) == (precision, 0), run.stderr


def test_phase_blocks_cover_every_pixel_once() -> None:
    """As ``jit/upsample.py:phase_pixels`` takes them apart: cells of a phase in runs of ``block_p``."""
    for stride, first_y, first_x, height, width in itertools.product((1, 2, 8), (0, 3), (1, 7), (1, 9), (2, 17)):
        cells_y = (first_y + height - 1) // stride - first_y // stride + 1
        cells_x = (first_x + width - 1) // stride - first_x // stride + 1
        for block_p in (16, 32):
            blocks = launch.phase_blocks(stride, (first_y, first_x), (height, width), block_p)
            assert blocks % stride**2 == 0
            assert (blocks // stride**2 - 1) * block_p < cells_y * cells_x <= blocks // stride**2 * block_p


def test_kinds() -> None:
    assert launch.kind_of("transposed", None) == launch.BILINEAR
    assert launch.kind_of("transposed", torch.zeros(2, 4, 4)) == launch.DEPTHWISE
    assert launch.kind_of("transposed", torch.zeros(2, 2, 4, 4)) == launch.DENSE
    assert launch.kind_of("align_corners", None) == launch.ALIGN_CORNERS


def test_the_numbers_are_those_of_the_kernels() -> None:
    upsample = pytest.importorskip("fcnrt_kernels.jit.upsample", reason="needs Triton")
    for name in ("BILINEAR", "DEPTHWISE", "DENSE", "HALF_PIXEL", "ALIGN_CORNERS", "NEAREST"):
        assert getattr(upsample, name).value == getattr(launch, name)
