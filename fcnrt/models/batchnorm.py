"""Batch normalization folded into the convolution before it.

With its statistics fixed it is an affine map of each channel, and so is what the convolution ends with: the two are
one convolution (Ioffe and Szegedy, "Batch Normalization", section 3.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from fcnrt.errors import InputError


@runtime_checkable
class Normalized(Protocol):
    """A net that says which of its convolutions a batch normalization follows directly."""

    def normalized_pairs(self) -> Iterable[tuple[str, str]]:
        """Dotted names of each convolution and its normalization."""


@torch.no_grad()
def fold_batchnorm(net: nn.Module) -> None:
    """Fold every pair of ``net.normalized_pairs()``, in place: the same function in evaluation mode.

    The convolution gets the weights and the bias of both; the normalization becomes an ``nn.Identity``, so the state
    dict has other keys from then on. The arithmetic is in float64, whatever the weights are stored in. A net that
    declares no pairs is left as it is, and so is one that was folded before.

    Raises:
        InputError: a normalization has no running statistics, so it is not one function of its input.
        TypeError: a pair is not a convolution and a batch normalization.
    """
    for conv_name, norm_name in tuple(net.normalized_pairs()) if isinstance(net, Normalized) else ():
        conv, norm = net.get_submodule(conv_name), net.get_submodule(norm_name)
        if isinstance(norm, nn.Identity):
            continue
        if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
            raise TypeError(
                f"{conv_name} and {norm_name} are {type(conv).__name__} and {type(norm).__name__}; "
                "expected Conv2d and BatchNorm2d"
            )
        if norm.running_mean is None or norm.running_var is None:
            raise InputError(f"{norm_name} has no running statistics to fold; expected track_running_stats=True")
        gain = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.affine:
            gain *= norm.weight.double()
        bias = -norm.running_mean.double() * gain
        if conv.bias is not None:
            bias += conv.bias.double() * gain
        if norm.affine:
            bias += norm.bias.double()
        conv.weight = _like(conv.weight, conv.weight.double() * gain[:, None, None, None])
        conv.bias = _like(conv.weight, bias)
        net.set_submodule(norm_name, nn.Identity())


def prefixed(prefix: str, pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The pairs of a submodule, by their names in the module around it."""
    return tuple((f"{prefix}.{conv}", f"{prefix}.{norm}") for conv, norm in pairs)


def _like(parameter: Tensor, values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.to(parameter.dtype), requires_grad=parameter.requires_grad)
