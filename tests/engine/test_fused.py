"""The fused graph against the eager net that it was made from."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

import fcnrt
from fcnrt.demo import demo_checkpoint, sample_images
from fcnrt.engine.fused import FusedFCN
from fcnrt.engine.taps import inspect_taps
from fcnrt.images import read_image
from fcnrt.models import FCN
from fcnrt.models.upsampling import bilinear_weight
from fcnrt.preprocessing import normalize

BOUND = 1e-5
"""Of the largest logit: what float32 sums in another order may differ by."""

ARCHS = ["fcn32s", "fcn16s", "fcn8s", "fcn8s-atonce"]
SIZES = [(1, 1), (33, 47), (167, 241)]


def assert_same(net: FCN, x: Tensor) -> None:
    with torch.inference_mode():
        expected = net(x)
        fused = FusedFCN(copy.deepcopy(net), torch.float32)
        logits = fused(x)
        labels, probability = fused.predict_labels(x, confidence=True)
    largest = expected.abs().max()
    error = (logits - expected).abs().max() / largest
    assert logits.shape == expected.shape
    assert error <= BOUND
    best, second = expected.topk(2, dim=1).values.unbind(dim=1)
    wrong = labels != expected.argmax(dim=1)
    assert not (wrong & (best - second > 2 * BOUND * largest)).any(), f"{int(wrong.sum())} labels differ"
    assert (probability.float() - expected.softmax(dim=1).amax(dim=1)).abs().max() < 2e-3


@pytest.mark.parametrize("kind", ["bilinear", "depthwise", "dense"])
@pytest.mark.parametrize("arch", ARCHS)
def test_slim_nets(arch: str, kind: Any, make_net: Any) -> None:
    net = make_net(arch, kind=kind)
    for batch, size in zip((3, 1, 1), SIZES, strict=True):
        assert_same(net, torch.randn(batch, 3, *size) * 50)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("arch", ARCHS)
def test_sixteen_bits_on_slim_nets(arch: str, dtype: torch.dtype, make_net: Any) -> None:
    """Within 1e-2 of float32, or where these untrained nets amplify rounding, as near as the eager net in that type."""
    net, x = make_net(arch), torch.randn(1, 3, 33, 47) * 50
    with torch.inference_mode():
        expected = net(x)
        eager = copy.deepcopy(net).to(dtype)(x.to(dtype)).float()
        logits = FusedFCN(copy.deepcopy(net), dtype)(x)
    assert logits.dtype == torch.float32
    bound = max(1e-2 * expected.abs().max().item(), 1.5 * (eager - expected).abs().max().item())
    assert (logits - expected).abs().max() <= bound


def test_the_at_once_scale_is_not_lost_in_sixteen_bits(make_net: Any) -> None:
    """1e-4 times an ordinary weight is subnormal in float16: folded in, it would keep three bits."""
    net = make_net("fcn8s-atonce")
    for layer in ("score_fr", "score_pool4", "score_pool3"):
        module = net.get_submodule(layer)
        torch.nn.init.normal_(module.weight, std=1e-2 if layer == "score_pool3" else 0.0)
        torch.nn.init.zeros_(module.bias)
    x = torch.randn(1, 3, 33, 47) * 50
    with torch.inference_mode():
        expected, logits = net(x), FusedFCN(copy.deepcopy(net), torch.float16)(x)
    assert (logits - expected).abs().max() <= 5e-3 * expected.abs().max()


def test_one_nan_pixel_gives_the_labels_that_the_eager_net_gives(make_net: Any) -> None:
    net = make_net("fcn8s", width=1 / 64)
    x = torch.randn(1, 3, 60, 50)
    x[0, 1, 3, 4] = float("nan")
    with torch.inference_mode():
        expected, fused = net(x), FusedFCN(copy.deepcopy(net), torch.float32)
        assert torch.equal(fused(x).isnan(), expected.isnan())
        assert torch.equal(fused.predict_labels(x).long(), expected.argmax(dim=1))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (33, 47), (167, 241), (375, 500)], ids="{0[0]}x{0[1]}".format)
def test_full_width(size: tuple[int, int], make_net: Any) -> None:
    batch = 1 if size == (375, 500) else 3
    assert_same(make_net("fcn8s", 21, width=1.0), torch.randn(batch, 3, *size) * 50)


def test_sixteen_bits_keep_the_labels_of_the_trained_net() -> None:
    narrow = fcnrt.load(demo_checkpoint(), device="cpu", dtype=torch.bfloat16)
    exact = fcnrt.load(demo_checkpoint(), device="cpu", dtype=torch.float32)
    same = total = 0
    for path in sample_images():
        x = normalize(torch.from_numpy(read_image(path)).permute(2, 0, 1)[None], exact.spec.normalization)
        labels = narrow.predict_labels(x)
        same += int((labels == exact.reference(x).argmax(dim=1)).sum())
        total += labels.numel()
    assert same / total >= 0.999, f"{same} of {total} labels agree"


def test_taps_are_inspected_not_assumed() -> None:
    weight = bilinear_weight(3, 16)
    assert inspect_taps(weight) is None
    learned = weight.clone()
    learned[1, 1, 4, 5] += 1e-7
    taps = inspect_taps(learned)
    assert taps is not None
    assert torch.equal(taps, torch.stack([learned[c, c] for c in range(3)]))
    mixing = weight.clone()
    mixing[0, 2, 8, 8] = 1e-30
    assert inspect_taps(mixing) is not None
    assert torch.equal(inspect_taps(mixing), mixing)  # type: ignore[arg-type]  # checked above
    # 64 taps have twelve bits: what float16 stored is a filter of its own, and stays one.
    assert inspect_taps(bilinear_weight(2, 64).half().float()) is not None
    assert inspect_taps(bilinear_weight(2, 16).half().float()) is None
