"""FCNs on residual trunks: torchvision's, and plain ones with the paper's skips."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import ClassVar, Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from fcnrt.models.batchnorm import prefixed
from fcnrt.models.decoder import Decoder, Deconvolution, Interpolation, Resize, Score, Skip, Stage
from fcnrt.models.fcn import FCN
from fcnrt.models.layers import add_decoder, decoded_features
from fcnrt.models.resnet import ResNet

DEFAULT_STRIDES: Mapping[int, int] = {18: 32, 34: 32, 50: 8, 101: 8}
"""Output stride by depth: torchvision's own nets, and for the shallow ones dusty-nv's fork of it."""


class Head(Protocol):
    """A few convolutions on one map of the trunk, and the 1x1 convolution that scores what they give."""

    score: str
    """the 1x1 convolution's name inside the head"""

    def hidden(self, x: Tensor) -> Tensor:
        """All of the head but the 1x1 convolution, on the trunk's map."""

    def normalized_pairs(self) -> tuple[tuple[str, str], ...]:
        """Every convolution and the batch normalization behind it, by name inside the head."""


class ResNetHeadFCN(FCN):
    """A residual trunk ``backbone``, a :class:`Head` on its last map, and interpolation to the image.

    An auxiliary head on ``layer3``, if there is one, is for training: its loss helps the trunk. Only
    ``training_logits`` runs it.

    A subclass adds the heads under the names ``HEAD`` and ``AUXILIARY``; the latter may be None.
    """

    HEAD: ClassVar[str]
    AUXILIARY: ClassVar[str]

    def __init__(self, backbone: ResNet, num_classes: int, score: str, rule: Interpolation) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.backbone = backbone
        self.heads = {"out": Decoder((Score("head", f"{self.HEAD}.{score}"),), (), Resize(rule))}
        self.auxiliary_heads = {"aux": Decoder((Score("auxiliary", f"{self.AUXILIARY}.{score}"),), (), Resize(rule))}
        self.head_classes = {"out": num_classes}

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Image ``[N,3,H,W]`` to ``head``: what the head's 1x1 convolution scores."""
        head: Head = getattr(self, self.HEAD)
        return {"head": head.hidden(self.backbone(x, ("layer4",))["layer4"])}

    def training_logits(self, x: Tensor) -> dict[str, Tensor]:
        """Image to logits ``[N,C,H,W]``: ``out``, and ``aux`` of the auxiliary head if there is one."""
        maps = self.backbone(x, ("layer3", "layer4"))
        head: Head = getattr(self, self.HEAD)
        auxiliary: Head | None = getattr(self, self.AUXILIARY)
        hidden, decoders = {"head": head.hidden(maps["layer4"])}, dict(self.heads)
        if auxiliary is not None:
            hidden["auxiliary"] = auxiliary.hidden(maps["layer3"])
            decoders |= self.auxiliary_heads
        size = (x.shape[-2], x.shape[-1])
        return {name: self._decode(decoder, hidden, size) for name, decoder in decoders.items()}

    def normalized_pairs(self) -> tuple[tuple[str, str], ...]:
        """Every convolution and the batch normalization behind it, by name."""
        heads: dict[str, Head | None] = {name: getattr(self, name) for name in (self.HEAD, self.AUXILIARY)}
        pairs = (prefixed(name, head.normalized_pairs()) for name, head in heads.items() if head is not None)
        return (*prefixed("backbone", self.backbone.normalized_pairs()), *chain.from_iterable(pairs))

    def peak_elements(self, height: int, width: int) -> int:
        """Those of the trunk."""
        return self.backbone.peak_elements(height, width)


class TorchvisionHead(nn.Sequential):
    """3x3 convolution to a quarter of the channels, batch normalization, ReLU, dropout, 1x1 convolution."""

    score = "4"

    def __init__(self, in_channels: int, num_classes: int) -> None:
        channels = max(1, in_channels // 4)
        super().__init__(
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Conv2d(channels, num_classes, 1),
        )

    def hidden(self, x: Tensor) -> Tensor:
        """All layers but the last."""
        for layer in list(self)[:-1]:
            x = layer(x)
        return x

    def normalized_pairs(self) -> tuple[tuple[str, str], ...]:
        """The one pair."""
        return (("0", "1"),)


class TorchvisionFCN(ResNetHeadFCN):
    """``fcn_resnet50`` and ``fcn_resnet101`` of pytorch/vision ``torchvision/models/segmentation/fcn.py``.

    The last two stages dilate, so the scores have stride 8; they are interpolated with half-pixel centres.
    ``fcn_resnet18`` and ``fcn_resnet34`` are those of dusty-nv's fork (``models/segmentation/segmentation.py`` of
    dusty-nv/pytorch-segmentation): no dilation, stride 32. Parameter names are torchvision's.

    Args:
        num_classes: classes, background included.
        width: multiplies every channel count but ``num_classes``; 1.0 is the original.
        depth: of the trunk: 18, 34, 50 or 101.
        output_stride: 8, 16 or 32, which the tensors do not say; None is the publisher's for the depth. A shallow
            net dilates as mmseg's do, since torchvision's cannot.
        aux: has the auxiliary head ``aux_classifier``, which inference does not run.

    Raises:
        InputError: no such depth or output stride.
    """

    HEAD = "classifier"
    AUXILIARY = "aux_classifier"

    def __init__(
        self,
        num_classes: int = 21,
        *,
        width: float = 1.0,
        depth: int = 50,
        output_stride: int | None = None,
        aux: bool = False,
    ) -> None:
        output_stride = DEFAULT_STRIDES.get(depth, 32) if output_stride is None else output_stride
        backbone = ResNet(depth, width=width, output_stride=output_stride)
        super().__init__(backbone, num_classes, TorchvisionHead.score, "half_pixel")
        self.width = width
        self.classifier = TorchvisionHead(backbone.channels["layer4"], num_classes)
        self.aux_classifier = TorchvisionHead(backbone.channels["layer3"], num_classes) if aux else None


class SkipResNetFCN(FCN):
    """A plain residual trunk and the paper's decoder, which a subclass names. Our own definition.

    The paper has no residual nets; this is its section 4.2 on the trunk of He et al. 2015 without dilation
    (torchvision's layers and names, under ``backbone``): ``layer4`` (stride 32) is scored by ``score_fr``, ``layer3``
    (16) by ``score_layer3``, ``layer2`` (8) by ``score_layer2``, all 1x1 convolutions that start at zero, and
    transposed convolutions upsample, which start bilinear and may be trained.

    *Kernels.* Entry ``i`` of a map of stride ``s`` is centred on pixel ``s * i`` (see ``resnet.py``). Bilinear
    interpolation by ``s`` keeps to that grid only with the odd kernel ``2 * s - 1``; the even ``2 * s`` of the VGG
    nets would be half an entry off. So: 3 with stride 2 between the maps, and 15, 31 or 63 with stride 8, 16 or 32 to
    the pixels.

    *Edges.* The trunk keeps its own padding instead of 100 pixels around the image, which would double the work.
    ``EXTENSION`` repeats the edge of each map in the decoder: one entry behind ``layer4``, so that the pixels behind
    its last centre do not fade towards zero; and as many before and behind the skips as the upsampled scores reach
    beyond them.

    *Crops.* The upsampled scores begin one entry before ``layer3`` and three before ``layer2``, which the extension
    makes up for, so nothing is cropped from the skips. The last map begins 31 pixels before the image in all three
    nets: 63 - 32, 2 * 8 + 15 and 3 * 8 + 7. Every size from 1x1 up is valid.

    Args:
        num_classes: classes, background included.
        width: multiplies every channel count of the trunk; 1.0 is the original.
        depth: of the trunk: 18, 34, 50 or 101.

    Raises:
        InputError: no such depth.
    """

    DECODER: ClassVar[Decoder]
    EXTENSION: ClassVar[Mapping[str, tuple[int, int]]] = {"layer4": (0, 1), "layer3": (1, 3), "layer2": (3, 7)}
    """Entries repeated before and behind each map, in rows and columns alike."""

    def __init__(self, num_classes: int = 21, *, width: float = 1.0, depth: int = 50) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.width = width
        self.heads = {"out": self.DECODER}
        self.head_classes = {"out": num_classes}
        self.backbone = ResNet(depth, width=width)
        self._read = decoded_features(self.heads)
        add_decoder(self, self.DECODER, self.backbone.channels, num_classes)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Image ``[N,3,H,W]`` to those of ``layer2``, ``layer3``, ``layer4`` that the decoder reads, extended."""
        maps: dict[str, Tensor] = self.backbone(x, self._read)
        return {name: F.pad(maps[name], 2 * self.EXTENSION[name], mode="replicate") for name in maps}

    def normalized_pairs(self) -> tuple[tuple[str, str], ...]:
        """Every convolution and the batch normalization behind it, by name."""
        return prefixed("backbone", self.backbone.normalized_pairs())

    def peak_elements(self, height: int, width: int) -> int:
        """Those of the trunk."""
        return self.backbone.peak_elements(height, width)


_SCORE_FR = (Score("layer4", "score_fr"),)
_STAGE_16S = Stage(Deconvolution("upscore2", 3, 2), Skip("layer3", "score_layer3"))
_STAGE_8S = Stage(Deconvolution("upscore_layer3", 3, 2), Skip("layer2", "score_layer2"))


class FCN32sResNet(SkipResNetFCN):
    """One stream, 32x upsampling."""

    DECODER = Decoder(_SCORE_FR, (), Deconvolution("upscore", 63, 32), crop=31)


class FCN16sResNet(SkipResNetFCN):
    """FCN-32s with the stride-16 skip from ``layer3``."""

    DECODER = Decoder(_SCORE_FR, (_STAGE_16S,), Deconvolution("upscore16", 31, 16), crop=31)


class FCN8sResNet(SkipResNetFCN):
    """FCN-16s with the stride-8 skip from ``layer2``."""

    DECODER = Decoder(_SCORE_FR, (_STAGE_16S, _STAGE_8S), Deconvolution("upscore8", 15, 8), crop=31)
