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

ARGUMENT, METADATA, SHAPES, FILE_NAME, DEFAULT = (
    "argument",
    "file metadata",
    "tensor shapes",
    "file name",
    "default",
)
"""The values of ``ModelSpec.sources``."""


@dataclass(frozen=True)
class Overrides:
    """What the caller says; it goes before everything that the file says."""

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
    """

    overrides: Overrides
    noted: Notes
    file_name: str

    def search(self, noted: Mapping[str, Any], named: Mapping[str, Any]) -> tuple[Any, str] | None:
        """What the first pattern that fits the program's notes, or else the file's name, stands for; and its source."""
        for patterns, text, source in ((noted, self.noted.text, METADATA), (named, self.file_name, FILE_NAME)):
            for pattern, value in patterns.items():
                if re.search(pattern, text):
                    return value, source
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
