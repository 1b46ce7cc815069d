"""Scales folded into nets: the same scores to the last bit, and float16 where it would overflow."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fcnrt.engine.activations import activation_ranges
from fcnrt.engine.fused import FusedFCN
from fcnrt.engine.scaling import check_unscaled, fold_scales
from fcnrt.errors import InputError
from fcnrt.models import FCN
from fcnrt.models.batchnorm import fold_batchnorm
from fcnrt.plan.scales import LEAST, MOST

ARCHS = ["fcn8s", "fcn8s-atonce", "siftflow-fcn16s", "fcn8s-resnet18", "fcn-resnet18", "fcn-googlenet"]
FACTOR = 20_000.0


def image(net: FCN) -> Tensor:
    return torch.randn(1, net.in_channels, 75, 83) * 50


def heads(outputs: Any) -> list[Tensor]:
    return list(outputs.values()) if isinstance(outputs, dict) else [outputs]


def relative_error(found: Any, expected: Any) -> float:
    pairs = list(zip(heads(found), heads(expected), strict=True))
    return max(float((some - other).abs().max() / other.abs().max()) for some, other in pairs)


def blown_up(net: FCN) -> FCN:
    """``net`` with activations ``FACTOR`` times as large, and the same scores."""
    fold_batchnorm(net)
    scored = set()
    for decoder in net.heads.values():
        scored |= {score.layer for score in decoder.scores} | {stage.skip.layer for stage in decoder.stages}
    first = True
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d) and name in scored:
            layer.weight.div_(FACTOR)
        elif isinstance(layer, nn.Conv2d):
            if first:
                layer.weight.mul_(FACTOR)
            if layer.bias is not None:
                layer.bias.mul_(FACTOR)
            first = False
    return net


@pytest.mark.parametrize("arch", ARCHS)
def test_folding_changes_no_bit_of_the_scores(arch: str, make_net: Any) -> None:
    net = blown_up(make_net(arch))
    x, folded = image(net), copy.deepcopy(net)
    scales = fold_scales(folded, [image(net)])
    assert min(scales.values()) < 1e-3
    assert all(math.frexp(scale)[0] == 0.5 for scale in scales.values())
    for found, expected in zip(heads(folded(x)), heads(net(x)), strict=True):
        assert torch.equal(found, expected)
    largest = max(float(feature.abs().max()) for feature in folded.features(x).values())
    assert largest < 2**14 < max(float(feature.abs().max()) for feature in net.features(x).values())


@pytest.mark.parametrize("arch", ARCHS)
def test_float16_holds_what_would_overflow(arch: str, make_net: Any) -> None:
    """As near to float32 as where nothing overflows: these untrained nets amplify rounding, some more than others."""
    moderate = make_net(arch)
    net, x = blown_up(copy.deepcopy(moderate)), image(moderate)
    expected = net(x)
    assert relative_error(moderate(x), expected) <= 1e-4, "the same function"
    assert not all(head.isfinite().all() for head in heads(FusedFCN(copy.deepcopy(net), torch.float16)(x)))
    bound = 1.5 * relative_error(FusedFCN(moderate, torch.float16)(x), expected)
    fused = FusedFCN(net, torch.float16, calibration=[image(net)])
    assert fused.planned is not None
    assert relative_error(fused(x), expected) <= max(1e-3, bound)
    assert all(labels.shape == (1, 75, 83) for labels in heads(fused.predict_labels(x)))


def test_nothing_changes_where_nothing_must(make_net: Any) -> None:
    net = make_net("fcn8s-atonce")
    x, before, decoders = image(net), dict(net.named_parameters()), net.heads
    plain = FusedFCN(copy.deepcopy(net), torch.float16)(x)
    assert set(fold_scales(net, [x]).values()) == {1.0}
    assert dict(net.named_parameters()).keys() == before.keys()
    assert all(parameter is before[name] for name, parameter in net.named_parameters())
    assert net.heads == decoders
    assert torch.equal(FusedFCN(net, torch.float16, calibration=[x])(x), plain)


def test_tensors_that_others_share_stay_as_they_are(make_net: Any) -> None:
    net = blown_up(make_net("fcn8s"))
    shared = {name: parameter.detach() for name, parameter in net.named_parameters()}
    copies = {name: tensor.clone() for name, tensor in shared.items()}
    net.load_state_dict(shared, assign=True)
    FusedFCN(net, torch.float16, calibration=[image(net)])
    assert all(torch.equal(tensor, copies[name]) for name, tensor in shared.items())


def test_weights_too_small_for_float16_are_scaled_too(make_net: Any) -> None:
    """All activations are moderate, but weights that lead from thousands to a half are subnormal."""
    net = make_net("fcn8s")
    x = image(net)
    with torch.no_grad():
        for name, largest in (("conv4_1", 3000.0), ("conv4_2", 0.4), ("conv4_3", 300.0)):
            layer = net.get_submodule(name)
            layer.bias.zero_()
            layer.weight.mul_(largest / activation_ranges(net, [x])[name][1])
    found = [largest for _, largest in activation_ranges(net, [x]).values()]
    assert min(found) > LEAST and max(found) < MOST

    def loss() -> float:
        weight = net.get_parameter("conv4_2.weight")
        return float((weight.half().float() - weight).norm() / weight.norm())

    before, expected = loss(), net(x)
    scales = fold_scales(net, [x])
    assert scales["conv4_2"] > 1.0 > 2**10 * loss() and before > 2 * loss()
    assert torch.equal(net(x), expected)


def test_score_weights_too_small_for_float16_are_left_to_the_decoder(make_net: Any) -> None:
    net = make_net("fcn8s")
    with torch.no_grad():
        for layer in ("score_fr", "score_pool4", "score_pool3"):
            net.get_submodule(layer).weight.mul_(1e-7)
            net.get_submodule(layer).bias.zero_()
    x = image(net)
    expected, plain = net(x), FusedFCN(copy.deepcopy(net), torch.float16)(x)
    scaled = FusedFCN(net, torch.float16, calibration=[x])
    assert scaled.heads["out"].scores[0].weight < 1e-3 and scaled.heads["out"].stages[0].skip.scale < 1e-3
    assert relative_error(scaled(x), expected) <= 2e-3 < relative_error(plain, expected)


def test_response_normalisation_leaves_no_scale(make_net: Any) -> None:
    """conv1's activations are normalised, so they may not be scaled; those behind may."""
    net = make_net("fcn-alexnet")
    x = image(net)
    behind = copy.deepcopy(net)
    with torch.no_grad():
        behind.get_submodule("conv3").weight.mul_(1e6)
    expected = behind(x)
    fused = FusedFCN(behind, torch.float16, calibration=[x])
    assert relative_error(fused(x), expected) <= 5e-3
    with torch.no_grad():
        net.get_submodule("conv1").weight.mul_(1e6)
    expected_error = r"conv1.* reaches .* neither the image has a scale nor what local response normalisation reads"
    with pytest.raises(InputError, match=expected_error):
        FusedFCN(net, torch.float16, calibration=[x])


def test_what_cannot_be_lowered_is_checked(make_net: Any) -> None:
    net = make_net("pochih-fcns")
    x = image(net)
    assert fold_scales(copy.deepcopy(net), [x]) == {}
    with torch.no_grad():
        net.get_submodule("deconv1").weight.mul_(1e7)
    with pytest.raises(InputError, match=r"deconv1 reaches .* no scale can be folded in: .*use dtype='bfloat16'"):
        FusedFCN(net, torch.float16, calibration=[x])


def test_the_eager_engine_folds_nothing(make_net: Any) -> None:
    net = make_net("fcn8s")
    check_unscaled(net, [image(net)])
    with pytest.raises(InputError, match=r"reaches .* the eager engine folds no scales in; use dtype='bfloat16'"):
        check_unscaled(blown_up(net), [image(net)])
