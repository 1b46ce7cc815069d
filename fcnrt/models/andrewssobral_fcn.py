"""FCN-16s and FCN-8s of andrewssobral/deep-learning-pytorch, which tutorials copied: VGG16 with most pools left out.

Source: ``segmentation/networks/FCN{16,8}.py``. The program cuts torchvision's ``features`` into pieces and loses the
pools at the cuts: FCN-16s keeps two of the five and FCN-8s one, so the scores have stride 4 and 2. Copies that cut
behind the pools keep all five; their files look the same. Scores are stretched over the skip's map, and at last over
the image. (Its FCN-32s is in ``stretched_fcn.py``.)
"""

from __future__ import annotations

from typing import ClassVar, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from fcnrt.errors import InputError
from fcnrt.models.decoder import Decoder, Interpolation, Resize, Score, Skip, Stage
from fcnrt.models.fcn import FCN
from fcnrt.models.layers import add_decoder, check_size, scaled
from fcnrt.models.vgg import CHANNELS, DEPTHS, FC6_KERNEL, FC_CHANNELS, VGG16Trunk


class AndrewssobralSkipFCN(FCN):
    """VGG16 without padding for fc6, and the skips that a subclass names; layers by Caffe's names.

    Args:
        num_classes: classes, background included.
        width: multiplies every channel count of the trunk; 1.0 is VGG16.
        pooled: a pool closes every block, as in copies; otherwise only the first ``POOLS``.
        rule: how scores are stretched. The original has ``"align_corners"`` (``F.upsample_bilinear``).

    Raises:
        InputError: no such rule.
    """

    POOLS: ClassVar[int]
    SKIPS: ClassVar[tuple[int, ...]]
    """Blocks whose maps refine the scores, coarsest first."""

    def __init__(
        self,
        num_classes: int = 21,
        *,
        width: float = 1.0,
        pooled: bool = False,
        rule: Interpolation = "align_corners",
    ) -> None:
        if rule not in get_args(Interpolation):
            raise InputError(f"unknown rule {rule!r}; expected {', '.join(map(repr, get_args(Interpolation)))}")
        super().__init__()
        self.num_classes = num_classes
        self.width = width
        self.pools = len(CHANNELS) if pooled else self.POOLS
        stretch = Resize(rule)
        stages = tuple(Stage(stretch, Skip(f"block{block}", f"score_pool{block}")) for block in self.SKIPS)
        decoder = Decoder((Score("fc7", "score_fr"),), stages, stretch)
        self.heads = {"out": decoder}
        self.head_classes = {"out": num_classes}
        for name, layer in VGG16Trunk(width, padding=1).layers():
            self.add_module(name, layer)
        self.dropout = nn.Dropout()
        channels = {f"block{block}": scaled(full, width) for block, full in enumerate(CHANNELS, start=1)}
        add_decoder(self, decoder, {**channels, "fc7": scaled(FC_CHANNELS, width)}, num_classes)

    def peak_elements(self, height: int, width: int) -> int:
        """conv1_2's input and output, or fc7's, at the stride of the pools that are left."""
        rows, columns = height >> self.pools, width >> self.pools
        return 2 * max(
            scaled(CHANNELS[0], self.width) * height * width, scaled(FC_CHANNELS, self.width) * rows * columns
        )

    def features(self, x: Tensor) -> dict[str, Tensor]:
        """Image ``[N,3,H,W]`` to ``fc7`` and the skips' maps.

        Raises:
            InputError: an image that the pools leave fewer than seven rows or columns of.
        """
        check_size(x, FC6_KERNEL << self.pools, "its poolings leave fc6 nothing to read")
        maps: dict[str, Tensor] = {}
        for block, depth in enumerate(DEPTHS["vgg16"], start=1):
            for index in range(1, depth + 1):
                x = F.relu(self.get_submodule(f"conv{block}_{index}")(x), inplace=True)
            if block <= self.pools:
                x = F.max_pool2d(x, 2)
            if block in self.SKIPS:
                maps[f"block{block}"] = x
        for name in ("fc6", "fc7"):
            x = self.dropout(F.relu(self.get_submodule(name)(x), inplace=True))
        return {**maps, "fc7": x}


class AndrewssobralFCN16s(AndrewssobralSkipFCN):
    """With a skip from the fourth block; stride 4, or 32 if ``pooled``."""

    POOLS = 2
    SKIPS = (4,)


class AndrewssobralFCN8s(AndrewssobralSkipFCN):
    """With skips from the fourth and third blocks; stride 2, or 32 if ``pooled``."""

    POOLS = 1
    SKIPS = (4, 3)
