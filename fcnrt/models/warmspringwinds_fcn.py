"""The residual nets of warmspringwinds/pytorch-segmentation-detection, on its fork of torchvision.

Sources: ``pytorch_segmentation_detection/models/resnet_dilated.py`` and ``resnet_fcn.py``. A dilated stage of the fork
dilates all of its 3x3 convolutions. Scores are stretched with aligned corners (``upsample_bilinear``). The originals
keep the trunk under a name such as ``resnet18_8s``; here it is ``backbone``, since the name may say the wrong stride.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from fcnrt.models.batchnorm import prefixed
from fcnrt.models.decoder import Decoder, Resize, Score, Skip, Stage
from fcnrt.models.fcn import FCN
from fcnrt.models.layers import add_decoder, decoded_features
from fcnrt.models.resnet import ResNet

STRETCH = Resize("align_corners")


class _ForkedResNetFCN(FCN):
    """The fork's trunk ``backbone``, and a decoder."""

    def __init__(self, num_classes: int, width: float, depth: int, output_stride: int, decoder: Decoder) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.width = width
        self.heads = {"out": decoder}
        self.head_classes = {"out": num_classes}
        self.backbone = ResNet(depth, width=width, output_stride=output_stride, uniform_dilation=True)
        self._read = decoded_features(self.heads)
        add_decoder(self, decoder, self.backbone.channels, num_classes)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Image ``[N,3,H,W]`` to the maps that the decoder reads."""
        maps: dict[str, Tensor] = self.backbone(x, self._read)
        return maps

    def normalized_pairs(self) -> tuple[tuple[str, str], ...]:
        """Every convolution and the batch normalization behind it, by name."""
        return prefixed("backbone", self.backbone.normalized_pairs())

    def peak_elements(self, height: int, width: int) -> int:
        """Those of the trunk."""
        return self.backbone.peak_elements(height, width)


class WarmspringwindsFCN(_ForkedResNetFCN):
    """``Resnet18_8s`` and its like, of ``resnet_dilated.py``: the classifier's ``fc`` as a 1x1 convolution.

    Args:
        num_classes: classes, background included.
        width: multiplies every channel count of the trunk; 1.0 is the original.
        depth: of the trunk: 18, 34, 50 or 101.
        output_stride: 8, 16 or 32.

    Raises:
        InputError: no such depth or output stride.
    """

    def __init__(self, num_classes: int = 21, *, width: float = 1.0, depth: int = 18, output_stride: int = 8) -> None:
        super().__init__(num_classes, width, depth, output_stride, Decoder((Score("layer4", "fc"),), (), STRETCH))


class WarmspringwindsResNet9FCN(WarmspringwindsFCN):
    """``Resnet9_8s`` of ``resnet_dilated.py``: the weights of ``Resnet18_8s``, of which the first blocks alone are run.

    Args:
        num_classes: classes, background included.
        width: multiplies every channel count of the trunk; 1.0 is the original.
        output_stride: 8, 16 or 32; the original's is 8.

    Raises:
        InputError: no such output stride.
    """

    def __init__(self, num_classes: int = 21, *, width: float = 1.0, output_stride: int = 8) -> None:
        super().__init__(num_classes, width=width, depth=18, output_stride=output_stride)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Image ``[N,3,H,W]`` to ``layer4``, so far as it is run."""
        trunk = self.backbone
        x = F.max_pool2d(F.relu(trunk.bn1(trunk.conv1(x)), inplace=True), 3, stride=2, padding=1)
        for layer in trunk.channels:
            x = trunk.get_submodule(f"{layer}.0")(x)
        return {"layer4": x}


class WarmspringwindsFCN8s(_ForkedResNetFCN):
    """``Resnet18_8s`` and its like, of ``resnet_fcn.py``: a trunk of stride 32, and the skips of layer3 and layer2.

    Args:
        num_classes: classes, background included.
        width: multiplies every channel count of the trunk; 1.0 is the original.
        depth: of the trunk: 18, 34 or 50 in the original.

    Raises:
        InputError: no such depth.
    """

    def __init__(self, num_classes: int = 21, *, width: float = 1.0, depth: int = 18) -> None:
        stages = (Stage(STRETCH, Skip("layer3", "score_16s")), Stage(STRETCH, Skip("layer2", "score_8s")))
        super().__init__(num_classes, width, depth, 32, Decoder((Score("layer4", "score_32s"),), stages, STRETCH))
