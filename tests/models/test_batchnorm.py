"""Folding batch normalization leaves the function as it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fcnrt.errors import InputError
from fcnrt.models.batchnorm import fold_batchnorm, prefixed
from fcnrt.models.fcn import FCN
from fcnrt.models.mmseg_fcn import MMSegFCN
from fcnrt.models.resnet_fcn import FCN8sResNet, TorchvisionFCN
from fcnrt.models.warmspringwinds_fcn import WarmspringwindsFCN

NETS: dict[str, Callable[[], FCN]] = {
    "torchvision": lambda: TorchvisionFCN(5, width=1 / 16, aux=True),
    "torchvision, shallow": lambda: TorchvisionFCN(5, width=1 / 8, depth=18),
    "skips": lambda: FCN8sResNet(5, width=1 / 8, depth=34),
    "warmspringwinds": lambda: WarmspringwindsFCN(5, width=1 / 8),
    "mmseg": lambda: MMSegFCN(5, width=1 / 16, aux=True),
    "mmseg, b": lambda: MMSegFCN(5, width=1 / 16, deep_stem=False, output_stride=16, head_dilation=6),
}


def randomize(net: nn.Module) -> None:
    """Statistics, gains and offsets that change something, and score layers that are not zero."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.5, 2.0)
            if module.affine:
                nn.init.uniform_(module.weight, -1.0, 1.0)
                nn.init.normal_(module.bias, 0, 0.1)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:
            nn.init.normal_(module.weight, 0, module.in_channels**-0.5)


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=str)
@pytest.mark.parametrize("name", NETS)
def test_a_folded_net_gives_the_same_logits(name: str, dtype: torch.dtype, tolerance: float) -> None:
    net = NETS[name]().to(dtype).eval().requires_grad_(False)
    randomize(net)
    images = torch.randn(2, 3, 33, 47, dtype=dtype)
    expected = net(images)
    fold_batchnorm(net)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())
    assert {parameter.dtype for parameter in net.parameters()} == {dtype}
    assert relative_error(net(images), expected) <= tolerance
    folded = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    fold_batchnorm(net)
    assert all(torch.equal(tensor, folded[key]) for key, tensor in net.state_dict().items())


class Pair(nn.Module):
    """A convolution and what follows it."""

    def __init__(self, conv: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(conv, norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # type: ignore[no-any-return]

    def normalized_pairs(self) -> tuple[tuple[str, str], ...]:
        return prefixed("layers", [("0", "1")])


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("affine", [True, False], ids=["affine", "not affine"])
def test_a_pair(bias: bool, affine: bool) -> None:
    conv = nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=bias)
    net = Pair(conv, nn.BatchNorm2d(6, eps=0.1, affine=affine)).eval()
    randomize(net)
    images = torch.randn(2, 4, 9, 7)
    expected = net(images).detach()
    fold_batchnorm(net)
    assert relative_error(net(images).detach(), expected) <= 1e-5
    assert conv.weight.requires_grad
    assert conv.bias is not None
    assert conv.bias.requires_grad
    assert list(net.state_dict()) == ["layers.0.weight", "layers.0.bias"]


def test_folding_is_done_in_double_precision() -> None:
    """Weights that differ in their last bit still do after a gain that float32 would round."""
    conv = nn.Conv2d(1, 1, 1, bias=False).half()
    norm = nn.BatchNorm2d(1).half()
    conv.weight.data.fill_(0.1)
    assert norm.running_var is not None
    norm.running_var.fill_(1e-3)
    weight, variance = conv.weight.double(), norm.running_var.double()
    net = Pair(conv, norm)
    fold_batchnorm(net)
    assert conv.weight.dtype == torch.float16
    assert torch.equal(conv.weight, (weight / (variance + norm.eps).sqrt()).half())


def test_a_net_without_pairs_is_left_alone() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    fold_batchnorm(net)
    assert isinstance(net[1], nn.BatchNorm2d)


def test_no_running_statistics() -> None:
    with pytest.raises(InputError, match=r"layers\.1 has no running statistics to fold; expected track_running_stats"):
        fold_batchnorm(Pair(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, track_running_stats=False)))


def test_not_a_convolution() -> None:
    with pytest.raises(TypeError, match=r"layers\.0 and layers\.1 are ReLU and BatchNorm2d; expected Conv2d and"):
        fold_batchnorm(Pair(nn.ReLU(), nn.BatchNorm2d(1)))
