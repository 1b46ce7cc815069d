"""8 bits: labels on the trained net, quantised layers against their float form, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import fcnrt
from fcnrt.demo import demo_checkpoint, sample_images
from fcnrt.engine.cpu import plan_on_cpu
from fcnrt.engine.cpu.int8 import _pool_codes
from fcnrt.engine.fused import FusedFCN
from fcnrt.plan.graph import MaxPool
from fcnrt.plan.halo import Sliding


@pytest.fixture(scope="module")
def model() -> fcnrt.Segmenter:
    return fcnrt.load(demo_checkpoint(), dtype=torch.int8)


def test_labels_of_the_trained_net(model: fcnrt.Segmenter) -> None:
    """Calibrated on scenes that it does not see here."""
    exact = fcnrt.load(demo_checkpoint(), dtype=torch.float32)
    same = pixels = 0
    for path in sample_images():
        labels, expected = model.segment(path).labels, exact.segment(path).labels
        same, pixels = same + int((labels == expected).sum()), pixels + labels.size
    assert same / pixels >= 0.995


def test_the_halo_changes_no_code(make_net: Any) -> None:
    """Codes are whole numbers: what is taken from the zero image is what would have been computed."""
    net = make_net("fcn8s", width=1 / 32)
    images = [torch.randn(1, 3, 60, 70) * 50]
    for size in ((1, 1), (37, 70)):
        x = torch.randn(2, 3, *size) * 50
        with_halo, without = (
            plan_on_cpu(copy.deepcopy(net), torch.int8, halo=halo, calibration=images) for halo in (True, False)
        )
        with with_halo.run(x) as some, without.run(x) as all_of_them:
            for name, found in some.maps.items():
                whole = all_of_them.maps[name]
                rows, columns = found.rows - whole.rows, found.columns - whole.columns
                height, width = found.tensor.shape[2:]
                assert torch.equal(found.tensor, whole.tensor[:, :, rows : rows + height, columns : columns + width])


@pytest.mark.parametrize("arch", ["fcn8s", "fcn-alexnet-torchvision", "siftflow-fcn16s"])
def test_logits_are_near(arch: str, make_net: Any) -> None:
    net = make_net(arch, width=1 / 8)
    images = [torch.randn(1, 3, 64, 80) * 50 for _ in range(3)]
    fused = FusedFCN(copy.deepcopy(net), torch.int8, calibration=images)
    for found, expected in zip(_heads(fused(images[0])), _heads(net(images[0])), strict=True):
        assert found.dtype == torch.float32
        assert (found - expected).pow(2).mean() <= 0.03 * (expected - expected.mean()).pow(2).mean()


def _heads(outputs: Any) -> list[Tensor]:
    return list(outputs.values()) if isinstance(outputs, dict) else [outputs]


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2)])
def test_pools_of_codes(kernel: int, stride: int) -> None:
    """On maps of more codes than torch's own pool takes, with a last window that is cut off."""
    window = Sliding(kernel, stride, ceil=True)
    op = MaxPool("pool", "x", 5, (window, window))
    for height, width in ((kernel, kernel), (7, 8), (20, 33)):
        codes = torch.randint(0, 256, (2, 5, height, width), dtype=torch.uint8)
        expected = F.max_pool2d(codes.float(), kernel, stride, ceil_mode=True)
        assert torch.equal(_pool_codes(op, codes).float(), expected)


def test_calibration_with_the_caller_s_images() -> None:
    image = np.random.default_rng(0).integers(0, 255, (50, 60, 3), dtype=np.uint8)
    model = fcnrt.load(demo_checkpoint(), dtype="int8", calibration=[image, image[::-1]])
    assert model.segment(image).labels.shape == (50, 60)
    with pytest.raises(fcnrt.InputError, match="calibration holds no images"):
        fcnrt.load(demo_checkpoint(), dtype="int8", calibration=[])


def test_what_is_refused(make_net: Any) -> None:
    with pytest.raises(fcnrt.InputError, match="TorchvisionFCN has no 8-bit form: no ReLU follows"):
        FusedFCN(make_net("fcn-resnet18", width=1 / 32), torch.int8, calibration=[])
    with pytest.raises(fcnrt.InputError, match="eager engine has no 8-bit form"):
        fcnrt.load(demo_checkpoint(), dtype="int8", engine="eager")


def test_it_compiles_as_float32(model: fcnrt.Segmenter) -> None:
    x = torch.randn(1, 3, 33, 47) * 50
    exported = torch.export.export(model, (x,)).module()(x)
    expected = model.reference(x)
    assert (exported - expected).abs().max() <= 1e-5 * expected.abs().max()
