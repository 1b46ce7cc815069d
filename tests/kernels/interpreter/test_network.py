"""Whole slim nets in the interpreter: trunk and decoder by the GPU's plan, every number from a Triton kernel."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fcnrt.engine.fused import FusedFCN
from fcnrt.models import FCN, create_model
from fcnrt_kernels import op, reference

HEIGHT, WIDTH, BATCH = 9, 14, 2


def make_net(arch: str) -> FCN:
    net = create_model(arch, 4, width=1 / 64).eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            assert module.bias is not None
            nn.init.normal_(module.bias, std=0.1)
    return net


@contextlib.contextmanager
def launching() -> Iterator[list[str]]:
    """The kernels that are launched, by name; their torch twins are out of reach."""
    from triton.runtime.interpreter import GridExecutor

    launched: list[str] = []
    execute = GridExecutor.__call__

    def record(executor: Any, *args: Any, **kwargs: Any) -> Any:
        launched.append(executor.fn.__name__)
        return execute(executor, *args, **kwargs)

    def refuse(x: Tensor) -> Tensor:
        raise AssertionError("a torch twin was called; the kernel should have been")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GridExecutor, "__call__", record)
        patch.setattr(reference, "_upcast", refuse)  # every twin begins with it
        yield launched


@pytest.mark.parametrize("arch", ["fcn32s", "fcn16s", "fcn8s", "fcn8s-atonce"])
def test_labels(arch: str) -> None:
    net = make_net(arch)
    x = torch.randn(BATCH, 3, HEIGHT, WIDTH) * 50
    expected = net(x)
    fused = FusedFCN(copy.deepcopy(net), torch.float32)
    assert fused.planned is not None
    with pytest.MonkeyPatch.context() as patch:
        # The constants come from the twins: of so small an image they are nearly all there is, and take a minute.
        patch.setattr(op, "runs_triton", lambda x: False)
        fused.planned.prepare(HEIGHT, WIDTH)
    with launching() as launched:
        labels = fused.predict_labels(x)
    best, second = expected.topk(2, dim=1).values.unbind(dim=1)
    wrong = labels.long() != expected.argmax(dim=1)
    assert not (wrong & (best - second > 2e-5 * expected.abs().max())).any(), f"{int(wrong.sum())} labels differ"
    convolutions = [name for name in launched if name in ("conv_descriptor_kernel", "conv_pointer_kernel")]
    assert (launched[0], len(convolutions)) == ("conv_first_kernel", 14)
    decoder = [name for name in launched if not name.startswith("conv")]
    assert decoder == [
        *("score_kernel", "score_sum_kernel"),
        "upsample_argmax_kernel" if arch == "fcn32s" else "decode_labels_kernel",
    ]
