"""The table of the convolutions of FCN-8s: its invariants, and that it can be printed."""

from __future__ import annotations

import pytest

from benchmarks.conv_table import FIRST, HOPPER, LAYERS, MATRIX_RATE, main, rows
from fcnrt_kernels.conv_config import SHARED_MEMORY


def test_flops_are_those_of_the_net() -> None:
    """249 GFLOP of FCN-8s at 500x500 depend on the image, rows that a pool's windows add and the decoder aside."""
    table = list(rows([1], compiled=False))
    assert [row.layer for row in table] == [layer.name for layer in (FIRST, *LAYERS)]
    assert sum(row.gigaflops for row in table) == pytest.approx(251.3, abs=0.1)
    assert sum(layer.pool for layer in LAYERS) == 5


def test_a_roofline_is_a_bound() -> None:
    for batch in (1, 16):
        for row in rows([batch], compiled=False):
            assert row.microseconds >= 1e6 * row.gigaflops * 1e9 / MATRIX_RATE
            assert row.waves >= row.work / HOPPER.multiprocessors / 2
    one, many = (list(rows([batch], compiled=False)) for batch in (1, 16))
    for single, sixteen in zip(one, many, strict=True):
        assert sixteen.gigaflops == pytest.approx(16 * single.gigaflops)
        # The tile that is fastest may leave more of its last wave empty than another.
        assert sixteen.microseconds <= 1.3 * 16 * single.microseconds


@pytest.mark.slow
def test_every_layer_compiles_to_wgmma_without_spills() -> None:
    pytest.importorskip("triton")
    for row in rows([1], compiled=True):
        assert row.compiled is not None
        assert row.compiled.spill_bytes == 0, row.layer
        assert row.compiled.matrix_instructions == {"wgmma.mma_async"}, row.layer
        assert row.compiled.shared_bytes <= SHARED_MEMORY[90], row.layer


def test_the_table_says_what_was_measured_and_what_was_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--batch", "1", "--no-compile"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Roofline: whole waves at 777 TFLOP/s, or traffic at 2.94 TB/s. Measured on an NVIDIA")
    lines = {line.split(" | ")[0].strip("| "): line for line in printed.splitlines() if line.startswith("| ")}
    assert lines["fc6"].endswith(" | 89.5 | 588 | 175.3 |")
    assert lines["conv1_1"].endswith(" |  |  |  |")
