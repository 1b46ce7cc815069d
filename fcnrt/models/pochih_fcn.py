"""The FCNs of pochih/FCN-pytorch and bat67/pytorch-FCN-easiest-demo: learned upsampling in five steps.

Source: ``python/fcn.py``. torchvision's VGG without fully connected layers, then five transposed convolutions with
ReLU and batch norm that each double the map, and a 1x1 convolution at full size. The four nets have the same
parameters; they differ in the pooled maps that they add, and in whether they add them before or after batch norm.
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from fcnrt.errors import InputError
from fcnrt.models.decoder import Decoder, Resize, Score
from fcnrt.models.fcn import FCN, score_layer
from fcnrt.models.layers import scaled
from fcnrt.models.vgg import CHANNELS, DEPTHS, STRIDE, run_vgg_features, vgg_features, vgg_peak_elements

UPSAMPLED_CHANNELS: tuple[int, ...] = (512, 256, 128, 64, 32)
"""Of ``deconv1`` … ``deconv5``; those of the pooled maps of the same size, as far as there are any."""

# The scores are at the image's size already, where nearest neighbours are the identity.
DECODER = Decoder((Score("upsampled", "classifier"),), (), Resize("nearest"))


class PochihTrunk(nn.Module):
    """``features``, as torchvision's VGGs name them."""

    def __init__(self, depths: tuple[int, ...], width: float) -> None:
        super().__init__()
        self.features = vgg_features(depths, width)


class PochihFCN(FCN):
    """A VGG trunk and its learned upsampling; a subclass says which pooled maps are added, and when.

    The originals take sides that are multiples of 32 and fail, or give a smaller map, on others. Those are our own
    definition: zeros (the mean colour) are added at the bottom and at the right up to the next multiple, and what
    they become is cropped, so every size from 1x1 up is valid.

    Parameter names are the program's: ``pretrained_net.features.N``, ``deconv1`` … ``deconv5``, ``bn1`` … ``bn5``,
    ``classifier``.

    Args:
        num_classes: classes, background included. The program trains them as independent yes-or-no questions; the
            label is the largest all the same.
        width: multiplies every channel count; 1.0 is the program's net.
        trunk: ``"vgg11"``, ``"vgg13"``, ``"vgg16"`` or ``"vgg19"``.

    Raises:
        InputError: no such trunk.
    """

    ADDED: ClassVar[tuple[str, ...]]
    """Pooled maps that are added to ``deconv1`` and its successors."""
    ADDED_BEFORE_NORM: ClassVar[bool] = True

    def __init__(self, num_classes: int = 21, *, width: float = 1.0, trunk: str = "vgg16") -> None:
        if trunk not in DEPTHS:
            raise InputError(f"unknown trunk {trunk!r}; expected {', '.join(map(repr, DEPTHS))}")
        super().__init__()
        self.num_classes = num_classes
        self.width = width
        self.heads = {"out": DECODER}
        self.head_classes = {"out": num_classes}
        self.pretrained_net = PochihTrunk(DEPTHS[trunk], width)
        channels = scaled(CHANNELS[-1], width)
        for step, full_channels in enumerate(UPSAMPLED_CHANNELS, start=1):
            out_channels = scaled(full_channels, width)
            deconv = nn.ConvTranspose2d(channels, out_channels, 3, stride=2, padding=1, output_padding=1)
            self.add_module(f"deconv{step}", deconv)
            self.add_module(f"bn{step}", nn.BatchNorm2d(out_channels))
            channels = out_channels
        self.classifier = score_layer(channels, num_classes)

    def peak_elements(self, height: int, width: int) -> int:
        """conv1_2's input and output."""
        return vgg_peak_elements((_padded(height), _padded(width)), self.width)

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Image ``[N,3,H,W]`` to ``upsampled``, what the classifier scores, at the image's size."""
        height, width = x.shape[-2:]
        if _padded(height) != height or _padded(width) != width:
            x = F.pad(x, (0, _padded(width) - width, 0, _padded(height) - height))
        kept = (*self.ADDED, "pool5")
        pools = {name: feature for name, feature in run_vgg_features(self.pretrained_net.features, x) if name in kept}
        x = pools.pop("pool5")
        for step in range(1, len(UPSAMPLED_CHANNELS) + 1):
            x = F.relu(self.get_submodule(f"deconv{step}")(x), inplace=True)
            added = pools.pop(self.ADDED[step - 1]) if step <= len(self.ADDED) else None
            if added is not None and self.ADDED_BEFORE_NORM:
                x = x + added
            x = self.get_submodule(f"bn{step}")(x)
            if added is not None and not self.ADDED_BEFORE_NORM:
                x = x + added
        return {"upsampled": x[..., :height, :width]}


class PochihFCN32s(PochihFCN):
    """No skips."""

    ADDED = ()


class PochihFCN16s(PochihFCN):
    """pool4 is added, before batch norm."""

    ADDED = ("pool4",)


class PochihFCN8s(PochihFCN):
    """pool4 and pool3 are added, before batch norm."""

    ADDED = ("pool4", "pool3")


class PochihFCNs(PochihFCN):
    """pool4 to pool1 are added, after batch norm."""

    ADDED = ("pool4", "pool3", "pool2", "pool1")
    ADDED_BEFORE_NORM = False


def _padded(side: int) -> int:
    """The next multiple of the trunk's stride."""
    return -(-side // STRIDE) * STRIDE
