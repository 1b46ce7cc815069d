"""What the nets are built with: channel counts at a width, and the layers that a decoder names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from fcnrt.errors import InputError
from fcnrt.models.decoder import Decoder, Deconvolution, Score, Skip
from fcnrt.models.fcn import bilinear_deconvolution, score_layer


def scaled(channels: int, width: float) -> int:
    """``channels`` of the full net at a width multiplier, at least one."""
    return max(1, round(channels * width))


def add_decoder(net: nn.Module, decoder: Decoder, channels: Mapping[str, int], num_classes: int) -> None:
    """Give ``net`` the layers that ``decoder`` names: score layers of zeros, bilinear transposed convolutions.

    Args:
        net: takes the layers under their names, which have no dots.
        decoder: says which.
        channels: of each feature map that ``decoder`` names.
        num_classes: what each position is scored for.
    """
    for score in _scored(decoder):
        net.add_module(score.layer, score_layer(channels[score.feature], num_classes))
    for upsampling in decoder.upsamplings:
        if isinstance(upsampling, Deconvolution):
            net.add_module(upsampling.name, bilinear_deconvolution(num_classes, upsampling))


def decoded_features(heads: Mapping[str, Decoder]) -> frozenset[str]:
    """The feature maps that the decoders name; a trunk need keep no others."""
    return frozenset(score.feature for decoder in heads.values() for score in _scored(decoder))


def check_size(x: Tensor, least: int, reason: str) -> None:
    """Refuse an image ``[N,C,H,W]`` with a side under ``least`` pixels, which ``reason`` explains.

    Raises:
        InputError: it is too small.
    """
    height, width = x.shape[-2:]
    if min(height, width) < least:
        raise InputError(
            f"an image of {height}x{width} pixels is too small: {reason}; expected at least {least}x{least}, "
            "enlarge or pad it"
        )


def _scored(decoder: Decoder) -> tuple[Score | Skip, ...]:
    """Its score layers, each with the feature map that it reads."""
    return (*decoder.scores, *(stage.skip for stage in decoder.stages))
