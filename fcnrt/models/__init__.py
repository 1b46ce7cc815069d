"""The eager reference nets: plain trainable ``torch.nn``, one family per file."""

from __future__ import annotations

from collections.abc import Mapping

from fcnrt.errors import InputError
from fcnrt.models.fcn import FCN
from fcnrt.models.vgg_fcn import VGGFCN, FCN8s, FCN8sAtOnce, FCN16s, FCN32s

ARCHITECTURES: Mapping[str, type[VGGFCN]] = {
    "fcn32s": FCN32s,
    "fcn16s": FCN16s,
    "fcn8s": FCN8s,
    "fcn8s-atonce": FCN8sAtOnce,
}
"""The nets by name, as ``fcnrt.load(arch=...)`` and ``model.spec.arch`` know them."""


def create_model(arch: str, num_classes: int = 21, *, width: float = 1.0) -> VGGFCN:
    """A fresh net ``arch`` of ``ARCHITECTURES``, trainable, on the CPU in float32.

    Raises:
        InputError: ``arch`` is not a name of ``ARCHITECTURES``.
    """
    if arch not in ARCHITECTURES:
        raise InputError(f"unknown architecture {arch!r}; known are {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[arch](num_classes, width=width)


__all__ = ["ARCHITECTURES", "FCN", "VGGFCN", "FCN8s", "FCN8sAtOnce", "FCN16s", "FCN32s", "create_model"]
