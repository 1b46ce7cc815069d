"""What all FCNs are: a trunk that gives feature maps by name, and decoders that make pixel scores of them."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from fcnrt.models.decoder import Decoder, Deconvolution, Resize
from fcnrt.models.upsampling import bilinear_weight


class FCN(nn.Module):
    """The base of the eager reference nets.

    A subclass defines ``features`` and ``peak_elements``, sets ``heads`` and ``head_classes``, and adds the layers
    that its decoders name.
    """

    heads: Mapping[str, Decoder]
    """A decoder for each label map that the net gives; most nets give one, named ``out``."""
    head_classes: Mapping[str, int]
    """Classes of each head, background included."""
    in_channels: int = 3

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """The trunk: normalised image ``[N,in_channels,H,W]`` to the feature maps that the decoders name."""
        raise TypeError(f"{type(self).__name__} does not define its trunk")

    def peak_elements(self, height: int, width: int) -> int:
        """Elements of the largest activations alive at once, for an image of ``height`` x ``width``."""
        raise TypeError(f"{type(self).__name__} does not say what memory it takes")

    def forward(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """Normalised image ``[N,in_channels,H,W]`` to logits ``[N,C,H,W]``; a dict of them by head if several."""
        maps = self.features(x)
        size = (x.shape[-2], x.shape[-1])
        logits = {name: self._decode(decoder, maps, size) for name, decoder in self.heads.items()}
        return logits if len(logits) > 1 else next(iter(logits.values()))

    def _decode(self, decoder: Decoder, maps: Mapping[str, Tensor], size: tuple[int, int]) -> Tensor:
        scores = [self._score(score.layer, maps[score.feature], score.weight) for score in decoder.scores]
        total = sum(scores[1:], start=scores[0])
        for stage in decoder.stages:
            feature = maps[stage.skip.feature]
            if stage.skip.scale != 1.0:
                feature = feature * stage.skip.scale
            skip = self.get_submodule(stage.skip.layer)(feature)
            total = self._upsample(stage.upsampling, total, (skip.shape[-2], skip.shape[-1]))
            total = total + crop(skip, stage.skip.crop, total.shape[-2], total.shape[-1])
        return crop(self._upsample(decoder.final, total, size), decoder.crop, *size)

    def _score(self, layer: str, feature: Tensor, weight: float) -> Tensor:
        score: Tensor = self.get_submodule(layer)(feature)
        return score if weight == 1.0 else score * weight

    def _upsample(self, upsampling: Deconvolution | Resize, scores: Tensor, size: tuple[int, int]) -> Tensor:
        if isinstance(upsampling, Deconvolution):
            return self.get_submodule(upsampling.name)(scores)  # type: ignore[no-any-return]
        if upsampling.rule == "nearest":
            return F.interpolate(scores, size, mode="nearest")
        return F.interpolate(scores, size, mode="bilinear", align_corners=upsampling.rule == "align_corners")


def score_layer(channels: int, num_classes: int) -> nn.Conv2d:
    """A 1x1 convolution that scores each position, zero to begin with, as the paper trains it."""
    layer = nn.Conv2d(channels, num_classes, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # it has a bias
    return layer


def bilinear_deconvolution(num_classes: int, upsampling: Deconvolution) -> nn.ConvTranspose2d:
    """The transposed convolution that ``upsampling`` names, bilinear to begin with, without bias."""
    kernel, stride = upsampling.kernel, upsampling.stride
    layer = nn.ConvTranspose2d(num_classes, num_classes, kernel, stride=stride, bias=False)
    layer.weight.data.copy_(bilinear_weight(num_classes, kernel))
    return layer


def crop(x: Tensor, offset: int, height: int, width: int) -> Tensor:
    """The window ``[height, width]`` of a map ``[N,C,*,*]`` that begins ``offset`` from the top and the left."""
    return x[..., offset : offset + height, offset : offset + width]
