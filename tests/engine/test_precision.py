"""float16 or bfloat16: decided by the net, on images, and said with what was measured."""

from __future__ import annotations

import copy
import dataclasses
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fcnrt.calibration import calibration_tensors
from fcnrt.checkpoints import read_checkpoint
from fcnrt.demo import demo_checkpoint
from fcnrt.engine import Placement, precision
from fcnrt.engine.fused import FusedFCN
from fcnrt.engine.precision import Agreement, decide_dtype, measure_agreement
from fcnrt.errors import InputError
from fcnrt.models.registry import create_skeleton

OPEN = Placement(torch.device("cpu"), torch.bfloat16, "a test", (torch.bfloat16, torch.float16))


@pytest.fixture(scope="module")
def demo() -> tuple[Any, list[Tensor]]:
    """The demo net and two drawn scenes."""
    checkpoint = read_checkpoint(demo_checkpoint())
    spec = checkpoint.spec
    net = create_skeleton(spec.arch, spec.num_classes, **spec.options)
    net.load_state_dict(checkpoint.state_dict, assign=True)
    return net.eval().requires_grad_(False), calibration_tensors(None, spec.normalization, eight_bits=False)


@pytest.mark.parametrize("engine", ["fused", "eager"])
def test_the_demo_net_keeps_more_labels_in_float16(engine: str, demo: Any) -> None:
    net, images = demo
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    decided = decide_dtype(net, OPEN, engine, images)
    assert (decided.dtype, decided.undecided, decided.calibrated) == (torch.float16, (), True)
    expected = (
        r"a test; float16 keeps 99\.9\d % of float32's labels on 2 calibration images and logits within \d\.\de-04"
    )
    assert re.match(expected + r", bfloat16 99\.[89]\d % and \d\.\de-03$", decided.reason)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_what_is_measured_is_what_the_engine_does(dtype: torch.dtype, demo: Any) -> None:
    net, images = demo
    found = measure_agreement(net, dtype, "fused", images[:1])
    expected, logits = net(images[0]), FusedFCN(copy.deepcopy(net), dtype, calibration=images[:1])(images[0])
    error = float((logits - expected).abs().max() / expected.abs().max())
    assert error / 2 <= -found.nearness <= error * 2
    labels = float((logits.argmax(dim=1) == expected.argmax(dim=1)).float().mean())
    assert abs(labels - found.labels) <= 1e-3


def test_weights_are_rounded_and_so_is_every_result() -> None:
    layer = nn.Conv2d(2, 1, 1, bias=False)
    layer.weight.data = torch.tensor([1 + 2**-9, -1.0]).view(1, 2, 1, 1)
    x = torch.ones(1, 2, 1, 1)
    with torch.no_grad(), precision._Rounding(torch.bfloat16):
        assert layer(x).item() == 0.0
        assert (x + 2**-9)[0, 0].item() == 1.0
    with torch.no_grad(), precision._Rounding(torch.float16):
        assert layer(x).item() == 2**-9


@pytest.mark.parametrize(
    ("half", "brain", "dtype", "reason"),
    [
        (Agreement(0.99999, -1.0), Agreement(0.9986, 0.0), torch.float16, r"float16 keeps 99.99 % .*bfloat16 99.86 %"),
        (Agreement(0.99, -1e-3), Agreement(0.995, -1e-2), torch.bfloat16, r"bfloat16 keeps 99.50 % .*float16 99.00 %"),
        (Agreement(1.0, -1e-3), Agreement(1.0, -1e-2), torch.float16, r"keeps 100.00 % .*within 1.0e-03, .*1.0e-02$"),
        (Agreement(1.0, 0.0), Agreement(1.0, 0.0), torch.bfloat16, "bfloat16 keeps 100.00 %"),
    ],
)
def test_labels_decide_and_then_logits(
    half: Agreement, brain: Agreement, dtype: torch.dtype, reason: str, demo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where neither does, bfloat16: it does not overflow."""
    found = {torch.float16: half, torch.bfloat16: brain}
    monkeypatch.setattr(precision, "measure_agreement", lambda net, dtype, engine, images: found[dtype])
    decided = decide_dtype(demo[0], OPEN, "fused", demo[1])
    assert decided.dtype == dtype
    assert re.search(reason, decided.reason)


@pytest.mark.parametrize("engine", ["fused", "eager"])
def test_a_net_that_float16_does_not_hold(engine: str, make_net: Any) -> None:
    """conv1's activations are normalised, so that no scale can help."""
    net = make_net("fcn-alexnet", width=1 / 32)
    net.get_submodule("conv1").weight.mul_(1e6)
    images = [torch.randn(1, 3, 60, 70) * 50]
    decided = decide_dtype(net, OPEN, engine, images)
    assert decided.dtype == torch.bfloat16
    assert "a test; bfloat16 keeps" in decided.reason and "; not float16: " in decided.reason
    asked = dataclasses.replace(OPEN, dtype=torch.float16, undecided=())
    if engine == "eager":
        with pytest.raises(InputError, match=r"reaches .* the eager engine folds no scales in"):
            decide_dtype(net, asked, engine, images)
    else:
        assert decide_dtype(net, asked, engine, images) == asked


def test_scales_help_the_fused_engine_alone(make_net: Any) -> None:
    net = make_net("fcn8s", width=1 / 32)
    net.get_submodule("conv1_1").weight.mul_(1e5)
    images = [torch.randn(1, 3, 60, 70) * 50]
    assert decide_dtype(net, OPEN, "fused", images).dtype == torch.float16
    assert decide_dtype(net, OPEN, "eager", images).dtype == torch.bfloat16


def test_without_images_nothing_is_decided(demo: Any) -> None:
    decided = decide_dtype(demo[0], OPEN, "fused", [])
    assert (decided.dtype, decided.reason, decided.undecided) == (torch.bfloat16, "a test", ())
