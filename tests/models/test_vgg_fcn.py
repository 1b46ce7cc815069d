"""The reference nets, number by number: their layers, maps and parameters. ``tests/publishers`` has their logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fcnrt.errors import InputError
from fcnrt.models import FCN, create_model
from fcnrt.models.upsampling import bilinear_kernel, bilinear_weight

# The originals, in full (shelhamer/fcn.berkeleyvision.org voc-fcn*/net.py, wkentaro/pytorch-fcn torchfcn/models).

TRUNK = {
    "conv1_1": (64, 3, 3, 3),
    "conv1_2": (64, 64, 3, 3),
    "conv2_1": (128, 64, 3, 3),
    "conv2_2": (128, 128, 3, 3),
    "conv3_1": (256, 128, 3, 3),
    "conv3_2": (256, 256, 3, 3),
    "conv3_3": (256, 256, 3, 3),
    "conv4_1": (512, 256, 3, 3),
    "conv4_2": (512, 512, 3, 3),
    "conv4_3": (512, 512, 3, 3),
    "conv5_1": (512, 512, 3, 3),
    "conv5_2": (512, 512, 3, 3),
    "conv5_3": (512, 512, 3, 3),
    "fc6": (4096, 512, 7, 7),
    "fc7": (4096, 4096, 1, 1),
}
SCORES = {"score_fr": (21, 4096, 1, 1), "score_pool4": (21, 512, 1, 1), "score_pool3": (21, 256, 1, 1)}
DECONVOLUTIONS = {
    "fcn32s": {"upscore": 64},
    "fcn16s": {"upscore2": 4, "upscore16": 32},
    "fcn8s": {"upscore2": 4, "upscore_pool4": 4, "upscore8": 16},
    "fcn8s-atonce": {"upscore2": 4, "upscore_pool4": 4, "upscore8": 16},
}
NUM_SCORES = {"fcn32s": 1, "fcn16s": 2, "fcn8s": 3, "fcn8s-atonce": 3}
NUM_PARAMETERS = {"fcn32s": 136152917, "fcn16s": 134815994, "fcn8s": 134489759, "fcn8s-atonce": 134489759}


def randomized(net: FCN) -> FCN:
    """Weights that keep activations near 1 from the first layer to the last, with no zero or bilinear one left."""
    for name, parameter in net.named_parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
        spread = 0.1 if name.endswith("bias") else (2 / fan_in) ** 0.5
        torch.nn.init.normal_(parameter, std=spread)
    return net.eval()


@pytest.mark.parametrize("arch", NUM_PARAMETERS)
def test_parameters_are_those_of_the_original(arch: str) -> None:
    with torch.device("meta"):
        net = create_model(arch)
    expected: dict[str, tuple[int, ...]] = {}
    for name, shape in (TRUNK | dict(list(SCORES.items())[: NUM_SCORES[arch]])).items():
        expected |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name, kernel in DECONVOLUTIONS[arch].items():
        expected[f"{name}.weight"] = (21, 21, kernel, kernel)
    assert {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()} == expected
    assert sum(parameter.numel() for parameter in net.parameters()) == NUM_PARAMETERS[arch]


# Image: conv1_1, pool3, pool4, pool5, fc7.
SIZES = {
    1: (199, 25, 13, 7, 1),
    224: (422, 53, 27, 14, 8),
    256: (454, 57, 29, 15, 9),
    375: (573, 72, 36, 18, 12),
    500: (698, 88, 44, 22, 16),
    512: (710, 89, 45, 23, 17),
    1024: (1222, 153, 77, 39, 33),
    2048: (2246, 281, 141, 71, 65),
}


@pytest.mark.parametrize("image", SIZES)
def test_map_sizes_are_those_of_the_original(image: int) -> None:
    """No value is looked at, so meta tensors do."""
    seen: dict[str, tuple[Any, Any]] = {}
    with torch.device("meta"):
        net = create_model("fcn8s", 3, width=1 / 64).eval()
        for name in ("conv1_1", "conv4_1", "conv5_1", "fc6", "fc7"):
            net.get_submodule(name).register_forward_hook(
                lambda module, args, out, name=name: seen.update({name: (args[0].shape[2:], out.shape[2:])})
            )
        net(torch.empty(1, 3, image, 1))
    conv1, pool3, pool4, pool5, fc7 = SIZES[image]
    least = SIZES[1]
    assert seen["conv1_1"][1] == (conv1, least[0])
    assert seen["conv4_1"][0] == (pool3, least[1])
    assert seen["conv5_1"][0] == (pool4, least[2])
    assert seen["fc6"][0] == (pool5, least[3])
    assert seen["fc7"][1] == (fc7, least[4])


@pytest.mark.parametrize("arch", NUM_PARAMETERS)
def test_every_size_gives_logits_of_its_size(arch: str) -> None:
    """Rounding in the poolings meets all its cases within 32 pixels; no value is looked at, so meta tensors do."""
    with torch.device("meta"):
        net = create_model(arch, 2, width=1 / 64).eval()
        for size in range(1, 70):
            assert net(torch.empty(1, 3, size, 70 - size)).shape == (1, 2, size, 70 - size)


@pytest.mark.parametrize("arch", NUM_PARAMETERS)
def test_a_fresh_net_is_the_papers(arch: str) -> None:
    """Score layers begin at zero and upsampling as bilinear, so that a staged net begins as the coarser one."""
    net = create_model(arch, 3, width=1 / 64)
    for name, parameter in net.named_parameters():
        if name.startswith("score"):
            assert not parameter.any()
        elif name.startswith("upscore"):
            assert torch.equal(parameter, bilinear_weight(3, parameter.shape[-1]))
        elif name.endswith("weight"):
            assert parameter.std() > 0
    assert not net.eval()(torch.randn(1, 3, 5, 7)).any()


@pytest.mark.parametrize("arch", NUM_PARAMETERS)
def test_every_parameter_can_be_trained(arch: str) -> None:
    net = create_model(arch, 3, width=1 / 16).train()
    for name, parameter in net.named_parameters():
        if name.startswith("score"):
            torch.nn.init.normal_(parameter)
    net(torch.randn(2, 3, 9, 5)).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert bool(parameter.grad.any()), name


def test_dropout_only_in_training() -> None:
    net = randomized(create_model("fcn32s", 3, width=1 / 16))
    x = torch.randn(1, 3, 4, 4)
    with torch.no_grad():
        assert torch.equal(net(x), net(x))
        net.train()
        assert not torch.equal(net(x), net(x))


def test_width_multiplies_channels() -> None:
    net = create_model("fcn8s", 4, width=1 / 8)
    shapes: dict[str, Any] = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    for name, (out, into, rows, columns) in TRUNK.items():
        assert shapes[f"{name}.weight"] == (out // 8, into if into == 3 else into // 8, rows, columns)
    assert shapes["score_pool3.weight"] == (4, 32, 1, 1)
    least = create_model("fcn8s", 1, width=1e-9)
    assert {parameter.shape[0] for parameter in least.parameters()} == {1}
    assert least(torch.zeros(1, 3, 2, 2)).shape == (1, 1, 2, 2)


def test_unknown_architecture() -> None:
    with pytest.raises(InputError, match=r"unknown architecture 'fcn4s'; known are .*fcn32s.*fcn8s-atonce"):
        create_model("fcn4s")


# upsample_filt of shelhamer's surgery.py, for small kernels by hand.
FILTERS = {
    1: [1],
    2: [0.5, 0.5],
    3: [0.5, 1, 0.5],
    4: [0.25, 0.75, 0.75, 0.25],
    5: [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3],
    6: [1 / 6, 0.5, 5 / 6, 5 / 6, 0.5, 1 / 6],
}


@pytest.mark.parametrize("kernel", FILTERS)
def test_bilinear_kernel(kernel: int) -> None:
    row = torch.tensor(FILTERS[kernel], dtype=torch.float64)
    torch.testing.assert_close(bilinear_kernel(kernel), (row[:, None] * row).float(), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (16, 8), (32, 16), (64, 32), (63, 32)])
def test_bilinear_weights_reproduce_a_plane(kernel: int, stride: int) -> None:
    """Away from the border, upsampling a linear ramp gives the finer ramp: the filter is an interpolation."""
    ramp = torch.arange(6.0)[None, None, None] + 2 * torch.arange(5.0)[None, None, :, None]
    fine = F.conv_transpose2d(ramp, bilinear_weight(1, kernel), stride=stride)[0, 0, kernel:-kernel, kernel:-kernel]
    assert (fine.diff(dim=1) - 1 / stride).abs().max() < 1e-5
    assert (fine.diff(dim=0) - 2 / stride).abs().max() < 1e-5
