"""FCNs on residual trunks: the fused engine, our own skip nets, layouts. ``tests/publishers`` has other logits."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcnrt.engine.fused import FusedFCN
from fcnrt.errors import InputError
from fcnrt.models.batchnorm import fold_batchnorm
from fcnrt.models.fcn import FCN
from fcnrt.models.resnet import ResNet
from fcnrt.models.resnet_fcn import (
    FCN8sResNet,
    FCN16sResNet,
    FCN32sResNet,
    SkipResNetFCN,
    TorchvisionFCN,
)
from fcnrt.models.warmspringwinds_fcn import WarmspringwindsFCN, WarmspringwindsFCN8s, WarmspringwindsResNet9FCN

SIZES = [(1, 1), (33, 47), (65, 129)]


def randomize(net: FCN) -> FCN:
    """Normalizations that do something, and score layers that are not zero."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, 0, 0.1)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.weight, 0, module.in_channels**-0.5)
            nn.init.normal_(module.bias)
    return net.eval().requires_grad_(False)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    assert actual.shape == expected.shape
    return float((actual - expected).abs().max() / expected.abs().max())


def grid_bilinear(x: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """Entry ``i`` lies at ``stride * i``; between entries linear, beyond the last constant."""
    for dim, length in zip((2, 3), size, strict=True):
        last = x.shape[dim] - 1
        position = torch.arange(length, device=x.device)
        near, share = position // stride, (position % stride / stride).to(x)
        share = share.view(-1, 1) if dim == 2 else share
        before, after = (x.index_select(dim, index.clamp(max=last)) for index in (near, near + 1))
        x = before * (1 - share) + after * share
    return x


NETS: dict[str, Callable[[], FCN]] = {
    "fcn_resnet18": lambda: TorchvisionFCN(5, width=1 / 8, depth=18),
    "fcn_resnet50": lambda: TorchvisionFCN(5, width=1 / 16),
    "fcn_resnet34 at stride 16": lambda: TorchvisionFCN(5, width=1 / 16, depth=34, output_stride=16),
    "fcn32s": lambda: FCN32sResNet(5, width=1 / 8, depth=18),
    "fcn16s": lambda: FCN16sResNet(5, width=1 / 8, depth=34),
    "fcn8s": lambda: FCN8sResNet(5, width=1 / 16),
    "resnet18_8s": lambda: WarmspringwindsFCN(5, width=1 / 8),
    "resnet9_8s": lambda: WarmspringwindsResNet9FCN(5, width=1 / 8),
    "resnet18_8s with skips": lambda: WarmspringwindsFCN8s(5, width=1 / 8),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_fused_engine_gives_the_logits_of_the_reference(name: str, size: tuple[int, int]) -> None:
    net = randomize(NETS[name]())
    if name == "fcn8s":  # trained upsampling, which mixes classes
        assert isinstance(net.upscore2, nn.ConvTranspose2d)
        nn.init.normal_(net.upscore2.weight)
    images = torch.randn(2, 3, *size)
    expected = net(images)
    fold_batchnorm(net)
    fused = FusedFCN(net, torch.float32)
    assert relative_error(fused(images), expected) <= 1e-5
    assert relative_error(fused(images[:1]), expected[:1]) <= 1e-5
    assert fused.predict_labels(images).shape == (2, *size)


@pytest.mark.parametrize(
    ("depth", "keys", "parameters", "without_aux"),
    [(50, 334, 35_322_218, 32_957_013), (101, 640, 54_314_346, 51_949_141)],
)
def test_torchvision_layout(depth: int, keys: int, parameters: int, without_aux: int) -> None:
    with torch.device("meta"):
        net = TorchvisionFCN(depth=depth, aux=True)
    state = net.state_dict()
    assert len(state) == keys
    assert state["backbone.layer3.0.downsample.0.weight"].shape == (1024, 512, 1, 1)
    assert state["classifier.0.weight"].shape == (512, 2048, 3, 3)
    assert state["classifier.4.weight"].shape == (21, 512, 1, 1)
    assert state["aux_classifier.0.weight"].shape == (256, 1024, 3, 3)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    net.aux_classifier = None
    assert sum(parameter.numel() for parameter in net.parameters()) == without_aux


def test_shallow_torchvision_layout() -> None:
    with torch.device("meta"):
        state = TorchvisionFCN(depth=18).state_dict()
    # torchvision's resnet18 has 11,689,512 parameters, 513,000 of them in its `fc`.
    trunk = {name: tensor for name, tensor in state.items() if name.startswith("backbone.")}
    assert len(trunk) == 120
    assert sum(tensor.numel() for tensor in trunk.values() if tensor.ndim == 4) == 11_689_512 - 513_000 - 9_600
    assert state["classifier.0.weight"].shape == (128, 512, 3, 3)
    assert "backbone.layer1.0.downsample.0.weight" not in state


@pytest.mark.parametrize("size", [(33, 47), (65, 129), (64, 96)], ids=str)
def test_skip_net_is_bilinear_on_the_trunks_grid(size: tuple[int, int]) -> None:
    net = randomize(FCN8sResNet(5, width=1 / 8, depth=18))
    weights, images = net.state_dict(), torch.randn(2, 3, *size)
    assert isinstance(net, FCN8sResNet)
    maps = net.backbone(images, ("layer2", "layer3", "layer4"))  # torchvision's trunk, which tests/publishers has
    layer2, layer3, layer4 = (
        F.conv2d(maps[layer], weights[f"{name}.weight"], weights[f"{name}.bias"])
        for layer, name in (("layer2", "score_layer2"), ("layer3", "score_layer3"), ("layer4", "score_fr"))
    )
    grids = [(math.ceil(size[0] / stride), math.ceil(size[1] / stride)) for stride in (8, 16, 32)]
    assert [tuple(x.shape[2:]) for x in (layer2, layer3, layer4)] == grids
    scores = layer3 + grid_bilinear(layer4, 2, grids[1])
    expected = grid_bilinear(layer2 + grid_bilinear(scores, 2, grids[0]), 8, size)
    assert relative_error(net(images), expected) <= 1e-5

    for build, final in (
        (FCN16sResNet, grid_bilinear(scores, 16, size)),
        (FCN32sResNet, grid_bilinear(layer4, 32, size)),
    ):
        shallower = build(5, width=1 / 8, depth=18).eval().requires_grad_(False)
        shallower.load_state_dict({name: weights.get(name, own) for name, own in shallower.state_dict().items()})
        assert relative_error(shallower(images), final) <= 1e-5


@pytest.mark.parametrize("build", [FCN32sResNet, FCN16sResNet, FCN8sResNet])
def test_skip_net_takes_every_size(build: type[SkipResNetFCN]) -> None:
    net = build(2, width=1 / 64, depth=18).eval().requires_grad_(False)
    for size in range(1, 66):
        assert net(torch.zeros(1, 3, size, 66 - size)).shape == (1, 2, size, 66 - size)


def test_slim_nets_have_the_layers_of_full_ones() -> None:
    with torch.device("meta"):
        full, slim = (TorchvisionFCN(depth=18, width=width, output_stride=8) for width in (1.0, 1e-4))
    assert list(slim.state_dict()) == list(full.state_dict())
    assert slim.state_dict()["backbone.conv1.weight"].shape == (1, 3, 7, 7)


def test_scores_and_upsampling_of_a_fresh_skip_net() -> None:
    net = FCN32sResNet(3, width=1 / 64, depth=18)
    assert not net.get_parameter("score_fr.weight").any()
    upscore = net.get_parameter("upscore.weight")
    assert upscore.shape == (3, 3, 63, 63)
    assert upscore[0, 0, 31, 31] == 1
    assert upscore[0, 0, 31, 15] == 0.5
    assert not upscore[0, 1].any()


def test_memory_grows_with_the_widest_map() -> None:
    with torch.device("meta"):
        dilated, plain = ResNet(50, output_stride=8), ResNet(18)
    assert dilated.peak_elements(80, 80) == 2 * 2048 * 10 * 10
    assert plain.peak_elements(64, 32) == 2 * 64 * 32 * 16
    assert plain.peak_elements(1, 1) == 2 * 512


def test_unknown_depth_and_stride() -> None:
    with pytest.raises(InputError, match="ResNet-20 is not known; expected a depth of 18, 34, 50, 101"):
        TorchvisionFCN(depth=20)
    with pytest.raises(InputError, match="output stride 4 is not known; expected 8, 16, 32"):
        WarmspringwindsFCN(output_stride=4)
