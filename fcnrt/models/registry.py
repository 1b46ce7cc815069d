"""The nets by name, and what can be said about one beyond its name and its classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fcnrt.errors import InputError
from fcnrt.models.fcn import FCN
from fcnrt.models.vgg_fcn import FCN8s, FCN8sAtOnce, FCN16s, FCN32s

VGG_OPTIONS: Mapping[str, Any] = {"width": 1.0, "padding": 100}


@dataclass(frozen=True)
class Architecture:
    """How a net is built.

    Args:
        build: called with the class count and the options, by keyword.
        options: constructor options that a checkpoint or a caller may set -> their defaults; JSON values.
        fixed: constructor arguments that make this the architecture that it is.
    """

    build: Callable[..., FCN]
    options: Mapping[str, Any] = field(default_factory=lambda: VGG_OPTIONS)
    fixed: Mapping[str, Any] = field(default_factory=dict)


ARCHITECTURES: Mapping[str, Architecture] = {
    "fcn32s": Architecture(FCN32s),
    "fcn16s": Architecture(FCN16s),
    "fcn8s": Architecture(FCN8s),
    "fcn8s-atonce": Architecture(FCN8sAtOnce),
}
"""By the names that ``fcnrt.load(arch=...)`` and ``model.spec.arch`` know."""


def create_model(arch: str, num_classes: int = 21, **options: Any) -> FCN:
    """A fresh net ``arch`` of ``ARCHITECTURES``, trainable, on the CPU in float32.

    Args:
        arch: its name.
        num_classes: classes, background included.
        options: as ``ARCHITECTURES[arch].options`` lists them, such as ``width``.

    Raises:
        InputError: no such architecture, or it has no such option.
    """
    if arch not in ARCHITECTURES:
        raise InputError(f"unknown architecture {arch!r}; known are {', '.join(ARCHITECTURES)}")
    architecture = ARCHITECTURES[arch]
    unknown = sorted(set(options) - set(architecture.options))
    if unknown:
        known = ", ".join(architecture.options) or "none"
        raise InputError(f"{arch} has no option {', '.join(unknown)}; its options are {known}")
    return architecture.build(num_classes, **architecture.fixed, **options)
