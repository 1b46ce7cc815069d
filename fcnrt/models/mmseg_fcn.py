"""FCN on residual trunks as open-mmlab/mmsegmentation has it.

Source: ``configs/fcn``, ``mmseg/models/decode_heads/fcn_head.py`` and ``mmseg/models/backbones/resnet.py`` (1.2.2).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcnrt.models.resnet import ResNet
from fcnrt.models.resnet_fcn import ResNetHeadFCN


class ConvModule(nn.Module):
    """mmcv's: a 3x3 convolution ``conv`` without bias, batch normalization ``bn``, ReLU."""

    def __init__(self, in_channels: int, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """``[N,in_channels,H,W]`` to ``[N,channels,H,W]``."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


class MMSegHead(nn.Module):
    """``convs``, then ``conv_cat`` on their input and output side by side, dropout, and the 1x1 ``conv_seg``.

    All have a quarter of the input's channels.

    Args:
        in_channels: of the trunk's map.
        num_classes: of ``conv_seg``.
        num_convs: length of ``convs``.
        concat_input: has ``conv_cat``; without, ``conv_seg`` reads the output of ``convs``.
        dilation: of ``convs``; ``conv_cat`` is not dilated.
    """

    score = "conv_seg"

    def __init__(
        self, in_channels: int, num_classes: int, *, num_convs: int, concat_input: bool, dilation: int
    ) -> None:
        super().__init__()
        channels = max(1, in_channels // 4)
        self.convs = nn.Sequential(
            *(ConvModule(channels if index else in_channels, channels, dilation) for index in range(num_convs))
        )
        self.conv_cat = ConvModule(in_channels + channels, channels) if concat_input else None
        self.dropout = nn.Dropout2d(0.1)
        self.conv_seg = nn.Conv2d(channels, num_classes, 1)
        nn.init.normal_(self.conv_seg.weight, std=0.01)
        nn.init.zeros_(self.conv_seg.bias)  # type: ignore[arg-type]  # it has a bias

    def hidden(self, x: Tensor) -> Tensor:
        """The trunk's map to what ``conv_seg`` scores, of the same height and width."""
        y = self.convs(x)
        if self.conv_cat is not None:
            y = self.conv_cat(torch.cat((x, y), dim=1))
        return self.dropout(y)  # type: ignore[no-any-return]

    def normalized_pairs(self) -> tuple[tuple[str, str], ...]:
        """Every convolution and the batch normalization behind it, by name."""
        modules = [f"convs.{index}" for index in range(len(self.convs))]
        if self.conv_cat is not None:
            modules.append("conv_cat")
        return tuple((f"{module}.conv", f"{module}.bn") for module in modules)


class MMSegFCN(ResNetHeadFCN):
    """``EncoderDecoder`` with ``FCNHead`` on a residual trunk, as the configurations of ``configs/fcn`` make it.

    ======================  =====================  ==============================
    configuration           arguments              trunk and head
    ======================  =====================  ==============================
    ``r50-d8``              (the defaults)         V1c stem, output stride 8
    ``r50b-d8``             ``deep_stem=False``    torchvision's stem
    ``d6_r50-d16``          ``output_stride=16,``  output stride 16, both heads'
                            ``head_dilation=6``    3x3 convolutions dilated by 6
    ``…-769x769``           ``align_corners=True``
    ======================  =====================  ==============================

    The head is ``decode_head``: two convolutions with ``concat_input``. Logits are those of mode ``whole`` for an
    image that is not padded. Parameter names are mmseg's.

    *Binary heads* (``out_channels=1``) have one score, and say "class 1" where its sigmoid is above ``threshold``, 0.3
    unless the configuration says another. A file of such a head is read as two classes: class 1's logit is that
    score, and class 0's is ``log(threshold / (1 - threshold))`` at every pixel, so the larger of the two is mmseg's
    label. Their softmax is not mmseg's probability but for a threshold of 0.5: it is 0.5 at the threshold.
    ``fcnrt.load(path, options={"threshold": 0.5})`` says another; the net itself does not know the threshold, its
    weights do.

    Args:
        num_classes: classes of the head's ``conv_seg``.
        width: multiplies every channel count but ``num_classes``; 1.0 is the original.
        depth: of the trunk: 18, 34, 50 or 101.
        output_stride: 8 (D8), 16 (D16, D6) or 32, which the tensors do not say.
        deep_stem: the V1c stem ``backbone.stem``; otherwise ``backbone.conv1``.
        head_dilation: of the heads' ``convs``, which the tensors do not say.
        align_corners: how scores are interpolated, which the tensors do not say.
        aux: has ``auxiliary_head``, one convolution without ``concat_input``, which inference does not run.

    Raises:
        InputError: no such depth or output stride.
    """

    HEAD = "decode_head"
    AUXILIARY = "auxiliary_head"

    def __init__(
        self,
        num_classes: int = 19,
        *,
        width: float = 1.0,
        depth: int = 50,
        output_stride: int = 8,
        deep_stem: bool = True,
        head_dilation: int = 1,
        align_corners: bool = False,
        aux: bool = False,
    ) -> None:
        backbone = ResNet(depth, width=width, output_stride=output_stride, deep_stem=deep_stem)
        super().__init__(backbone, num_classes, MMSegHead.score, "align_corners" if align_corners else "half_pixel")
        self.width = width
        self.decode_head = MMSegHead(
            backbone.channels["layer4"], num_classes, num_convs=2, concat_input=True, dilation=head_dilation
        )
        self.auxiliary_head = (
            MMSegHead(backbone.channels["layer3"], num_classes, num_convs=1, concat_input=False, dilation=head_dilation)
            if aux
            else None
        )
