"""Who may say what a network is: the caller, the file, its name, or nobody but a documented default."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fcnrt.checkpoints.noted import Notes
from fcnrt.errors import InputError
from fcnrt.models import ARCHITECTURES
from fcnrt.preprocessing import Normalization, get_normalization

ARGUMENT, METADATA, SHAPES, REGISTRY, FILE_NAME, DEFAULT = (
    "argument",
    "file metadata",
    "tensor shapes",
    "registry",
    "file name",
    "default",
)
"""The values of ``ModelSpec.sources``."""


@dataclass(frozen=True)
class Overrides:
    """What is said of a network outside its file.

    The caller's goes before everything that the file says; that of the registry of published files goes behind that,
    and before the file's name.
    """

    arch: str | None = None
    normalization: str | Normalization | None = None
    classes: Sequence[str] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Said:
    """What is known beside the tensors.

    Args:
        overrides: By the caller.
        noted: By the training program, inside the file.
        file_name: In lower case.
        registry: By the registry of published files, of this one.
    """

    overrides: Overrides
    noted: Notes
    file_name: str
    registry: Overrides = Overrides()

    def search(
        self, noted: Mapping[str, Any], named: Mapping[str, Any], registered: Any = None
    ) -> tuple[Any, str] | None:
        """What the first pattern that fits the program's notes stands for; else what is ``registered``; else what the
        first that fits the file's name does. And which of them it was.

        A pattern stands for a value, or for what its group is as a number of a type.
        """
        for patterns, text, source in ((noted, self.noted.text, METADATA), (named, self.file_name, FILE_NAME)):
            if source == FILE_NAME and registered is not None:
                return registered, REGISTRY
            for pattern, value in patterns.items():
                match = re.search(pattern, text)
                if match:
                    return (value(match[1]) if isinstance(value, type) else value), source
        return None


def known_arch(name: object) -> str | None:
    """The architecture that a program calls ``FCN8sAtOnce``, ``fcn8s-atonce`` or ``FCN-8s at once``."""
    return match_arch(name, ARCHITECTURES)


def match_arch(name: object, archs: Sequence[str] | Mapping[str, Any]) -> str | None:
    """The one of ``archs`` that ``name`` means, whatever its punctuation."""
    if not isinstance(name, str):
        return None
    return next((arch for arch in archs if squeeze(arch) == squeeze(name)), None)


def squeeze(name: str) -> str:
    """A name's letters and digits, in lower case."""
    return re.sub(r"[^a-z0-9]", "", name[:99].lower())


def check_overrides(overrides: Overrides) -> None:
    """Refuse what no file can make right, before any file is opened.

    Raises:
        InputError: An unknown architecture or normalization, class names that are not a list of strings, or options
            that are not numbers or strings by name.
    """
    if overrides.arch is not None and known_arch(overrides.arch) is None:
        raise InputError(f"unknown architecture {overrides.arch!r}; known are {', '.join(ARCHITECTURES)}")
    if overrides.normalization is not None:
        get_normalization(overrides.normalization)
    if not isinstance(overrides.options, Mapping) or not all(
        isinstance(name, str) and isinstance(value, (bool, int, float, str))
        for name, value in overrides.options.items()
    ):
        raise InputError(f"options is {overrides.options!r}; expected names and their values, such as {{'width': 1.0}}")
    classes = overrides.classes
    if classes is None:
        return
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise InputError(f"classes is {classes!r}; expected a list of names, one per class")
    if not all(isinstance(name, str) for name in classes):
        raise InputError(f"classes is {classes!r}; expected strings, one per class")
