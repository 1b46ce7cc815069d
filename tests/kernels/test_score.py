"""The coarsest scores as a torch custom op, their packed weights, and what the kernel becomes on a GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fcnrt_kernels import score
from fcnrt_kernels.config import select_score_tile
from fcnrt_kernels.packing import pack_score

X, BIAS = torch.randn(2, 8, 6, 7), torch.randn(5)
WEIGHT = pack_score(torch.randn(5, 8, 1, 1), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_opcheck(dtype: torch.dtype) -> None:
    weight = pack_score(torch.randn(5, 8), dtype)
    torch.library.opcheck(torch.ops.fcnrt.score.default, (X.to(dtype), weight, BIAS, [1, 0], [2, 3]))


def test_a_score_layer() -> None:
    layer = torch.nn.Conv2d(8, 5, 1).requires_grad_(False)
    assert layer.bias is not None
    out = torch.full((2, 5, 4, 3), float("nan"))
    weight = pack_score(layer.weight, torch.float32)
    assert score(X, weight, layer.bias, size=(4, 3), offset=(2, 1), out=out) is out
    torch.testing.assert_close(out, layer(X)[:, :, 2:6, 1:4])


@pytest.mark.parametrize(("dtype", "bits"), [(torch.float16, 21), (torch.bfloat16, 16)], ids=["float16", "bfloat16"])
def test_two_terms_have_twice_the_bits(dtype: torch.dtype, bits: int) -> None:
    weight = torch.randn(21, 512)
    terms = pack_score(weight, dtype)
    assert terms.shape == (2, 21, 512)
    assert (terms.double().sum(dim=0) - weight.double()).abs().max() <= weight.abs().max() * 2.0**-bits


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": X[0]}, r"x has shape \[8, 6, 7\]; expected \[N, classes, height, width\]"),
        ({"weight": WEIGHT[0]}, r"weight has shape \[5, 8\]; expected \[terms, classes, 8\]"),
        ({"weight": WEIGHT.half()}, "weight is torch.float16, .*; expected contiguous torch.float32, as x is"),
        ({"bias": BIAS[:4]}, "expected 5 contiguous floats"),
        ({"size": (6, 7), "offset": (0, 1)}, "the window takes columns 1 to 8 of a map that has 7"),
        ({"size": (0, 7)}, "the window takes rows 0 to 0 of a map that has 6"),
        ({"out": torch.empty(2, 5, 2, 3, dtype=torch.float16)}, "out is torch.float16 .*; expected torch.float32"),
    ],
)
def test_bad_arguments(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"x": X, "weight": WEIGHT, "bias": BIAS, "size": (2, 3)} | change
    with pytest.raises(ValueError, match=message):
        score(arguments.pop("x"), arguments.pop("weight"), arguments.pop("bias"), **arguments)


def test_a_score_layer_looks_at_one_position() -> None:
    with pytest.raises(ValueError, match=r"\[5, 8, 3, 3\]; expected \[classes, channels, 1, 1\]"):
        pack_score(torch.randn(5, 8, 3, 3), torch.float32)


def test_the_sum_is_shared_out_where_positions_are_few() -> None:
    assert select_score_tile(21, 4096, 256, 2).splits == 16
    assert select_score_tile(21, 4096, 16 * 256, 2).splits > 1
    assert select_score_tile(21, 4096, 1 << 20, 2).splits == 1
    assert select_score_tile(21, 16, 256, 2).splits == 1


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 100, 120])
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16], ids=["float32", "float16", "bfloat16"]
)
def test_compiled(dtype: torch.dtype, capability: int) -> None:
    aot = pytest.importorskip("fcnrt_kernels.aot", reason="needs Triton, which has no wheel for this platform")
    from fcnrt_kernels.score import run

    x = torch.empty(1, 16, 16, 4096, dtype=dtype).permute(0, 3, 1, 2)
    weight, bias, out = pack_score(torch.empty(21, 4096), dtype), torch.empty(21), torch.empty(1, 21, 16, 16)
    with aot.recorded_launches() as launches:
        run(select_score_tile(21, 4096, 256, dtype.itemsize), x, weight, bias, (0, 0), (16, 16), out)
    main, reduction = (launch.compile(capability) for launch in launches)
    assert main.spill_bytes == reduction.spill_bytes == 0
    assert main.fits
    assert bool(main.matrix_instructions) == (dtype != torch.float32)
    assert "ld.global.v4" in main.ptx or "cp.async.cg.shared.global" in main.ptx  # 16 bytes at a time
