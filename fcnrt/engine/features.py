"""What a trunk hands to the decoders, whoever ran it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from fcnrt.plan.windows import DecoderWindows


@dataclass(frozen=True)
class FeatureMap:
    """A feature map, or the part of it that is kept: ``[N,C,h,w]``, and where that begins in the whole map."""

    tensor: Tensor
    rows: int = 0
    columns: int = 0


@dataclass(frozen=True)
class Features:
    """The feature maps by name, and of each head's decoder what it uses of them, in rows and in columns."""

    maps: Mapping[str, FeatureMap]
    windows: Mapping[str, tuple[DecoderWindows, DecoderWindows]]
