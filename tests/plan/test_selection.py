"""Which algorithm a layer gets, and that the reason says why."""

from __future__ import annotations

import pytest
import torch

from fcnrt.models import create_model
from fcnrt.plan.graph import Convolution
from fcnrt.plan.lowering import lower
from fcnrt.plan.selection import select_algorithm


@pytest.mark.parametrize(
    ("layer", "exact", "capability", "algorithm", "reason"),
    [
        ("conv1_2", True, "AVX2", "winograd", "a quarter"),
        ("conv1_2", True, "AVX512", "direct", "64 channels; Winograd is faster from 512 on"),
        ("conv5_1", True, "AVX512", "winograd", "a quarter"),
        ("conv5_1", False, "AVX2", "direct", "16 bits"),
        ("fc6", True, "AVX2", "winograd", "a third"),
        ("fc6", True, "DEFAULT", "matrix", "103 million weights"),
        ("fc6", False, "AVX2", "matrix", "103 million weights"),
        ("fc7", True, "AVX2", "matrix", "17 million weights"),
    ],
)
def test_layers_of_fcn8s(layer: str, exact: bool, capability: str, algorithm: str, reason: str) -> None:
    with torch.device("meta"):
        net = create_model("fcn8s", 21).eval()
    op = next(op for op in lower(net, 64, 64) if isinstance(op, Convolution) and op.layer.endswith(layer))
    choice = select_algorithm(op, exact=exact, capability=capability)
    assert choice.algorithm == algorithm
    assert reason in choice.reason
