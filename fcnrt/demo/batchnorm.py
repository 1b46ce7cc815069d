"""Batch normalization for the time of pretraining only.

A VGG16 without pretrained weights learns several times faster with it. It is linear once its statistics are fixed, so
it folds into the convolution before it, and the net is the plain FCN again (Ioffe and Szegedy 2015, section 3.1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fcnrt.models import VGGFCN

MOMENTUM = 0.02
"""Share of the newest batch in the running statistics: a batch of a few scenes says little."""


def trunk_names(model: VGGFCN) -> list[str]:
    """The convolutions of the trunk in order, conv1_1 to fc7; score layers are not among them."""
    return [name for name, _ in model.named_children() if name.startswith(("conv", "fc"))]


def insert_batchnorm(model: VGGFCN) -> None:
    """Puts a batch normalization behind every convolution of the trunk, and starts the trunk anew (He et al. 2015)."""
    for name in trunk_names(model):
        conv = model.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        # The normalization takes any bias away again; what it learns becomes the bias when it is folded.
        nn.init.zeros_(conv.bias).requires_grad_(False)
        setattr(model, name, nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels, momentum=MOMENTUM)))


def running_statistics(model: nn.Module) -> list[Tensor]:
    """The running means and variances of every normalization."""
    return [buffer for buffer in model.buffers() if buffer.is_floating_point()]


@torch.no_grad()
def fold_batchnorm(model: VGGFCN) -> None:
    """Undoes :func:`insert_batchnorm`: the same function as in evaluation mode, by convolutions alone."""
    for name in trunk_names(model):
        conv, norm = model.get_submodule(name).children()
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert conv.bias is not None
        assert norm.running_mean is not None
        assert norm.running_var is not None
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        conv.weight.mul_(gain[:, None, None, None])
        conv.bias.copy_(norm.bias + (conv.bias - norm.running_mean) * gain)
        conv.requires_grad_(True)
        setattr(model, name, conv)
