"""The eager reference nets: plain trainable ``torch.nn``, one family per file."""

from __future__ import annotations

from fcnrt.models.fcn import FCN
from fcnrt.models.registry import ARCHITECTURES, Architecture, create_model
from fcnrt.models.vgg_fcn import VGGFCN, FCN8s, FCN8sAtOnce, FCN16s, FCN32s

__all__ = [
    "ARCHITECTURES",
    "FCN",
    "VGGFCN",
    "Architecture",
    "FCN8s",
    "FCN8sAtOnce",
    "FCN16s",
    "FCN32s",
    "create_model",
]
