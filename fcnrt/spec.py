"""What a network is beside its weights: architecture, classes, colours, input convention, and who says so."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from fcnrt.errors import CheckpointError, InputError
from fcnrt.preprocessing import Normalization

FORMAT_KEY = "fcnrt_format"
_FORMAT = "1"
_MOST = 2**20
"""No option is a number of this size."""


@dataclass(frozen=True)
class ModelSpec:
    """Everything that is needed to rebuild and use a network, except its tensors.

    Args:
        arch: A name of ``fcnrt.models.ARCHITECTURES``.
        num_classes: Score channels, at least 1.
        classes: One name per class.
        palette: One (R, G, B) in 0..255 per class.
        normalization: How images become input.
        options: What the architecture is built with, beside its classes: JSON values under the names that
            ``fcnrt.models.ARCHITECTURES`` lists, such as ``width``. What is absent has its default.
        heads: Head -> one name per class, for a network that gives several label maps; the first head's are
            ``classes``. Empty for a network that gives one.
        sources: Name of a field or of an option -> where its value came from: ``"argument"``,
            ``"file metadata"``, ``"tensor shapes"``, ``"registry"`` (of published files), ``"file name"`` or
            ``"default"``. Two specs that say the same are equal, whoever said it.

    Raises:
        InputError: A field is of the wrong kind, or the lengths disagree.
    """

    arch: str
    num_classes: int
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    normalization: Normalization
    options: Mapping[str, Any] = field(default_factory=dict)
    heads: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.arch, str) or not self.arch:
            raise InputError(f"arch is {self.arch!r}; expected the name of an architecture")
        if isinstance(self.num_classes, bool) or not isinstance(self.num_classes, int) or self.num_classes < 1:
            raise InputError(f"num_classes is {self.num_classes!r}; expected a whole number of at least 1")
        _check_options(self.options)
        for names in (self.classes, *self.heads.values()):
            if not all(isinstance(name, str) for name in names):
                raise InputError(f"class names must be strings, found {names!r}")
        if self.heads and next(iter(self.heads.values())) != self.classes:
            raise InputError(f"the first of the heads {', '.join(self.heads)} has other names than classes")
        if not all(len(color) == 3 and all(map(_is_byte, color)) for color in self.palette):
            raise InputError("every palette colour must be three whole numbers (R, G, B) in 0..255")
        for name in ("classes", "palette"):
            length = len(getattr(self, name))
            if length != self.num_classes:
                raise InputError(f"{name} has {length} entries for {self.num_classes} classes; expected one per class")

    @property
    def width(self) -> float:
        """Multiplies every channel count of the original network; 1.0 is the full one."""
        return float(self.options.get("width", 1.0))

    def to_metadata(self) -> dict[str, str]:
        """The spec as the string-to-string header of a safetensors file."""
        return {
            "format": "pt",
            FORMAT_KEY: _FORMAT,
            "arch": self.arch,
            "num_classes": str(self.num_classes),
            "classes": json.dumps(self.classes),
            "palette": json.dumps(self.palette),
            "normalization": self.normalization.to_json(),
            "options": json.dumps(dict(self.options)),
            "heads": json.dumps(dict(self.heads)),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ModelSpec:
        """Inverse of :meth:`to_metadata`; every source is ``"file metadata"``.

        Raises:
            CheckpointError: The metadata is of another format version, incomplete or contradicts itself.
        """
        version = metadata.get(FORMAT_KEY)
        if version != _FORMAT:
            raise CheckpointError(
                f"metadata has {FORMAT_KEY} {version!r}; this version of fcnrt reads {_FORMAT!r}. "
                "Update fcnrt, or convert the original checkpoint again"
            )
        names = [spec_field.name for spec_field in fields(cls) if spec_field.name != "sources"]
        missing = [name for name in names if name not in metadata]
        if missing:
            raise CheckpointError(
                f"metadata lacks {', '.join(missing)}; expected all of {', '.join(names)}. "
                "Convert the original checkpoint again"
            )
        try:
            options, heads = _json(metadata, "options", dict), _json(metadata, "heads", dict)
            told = [name for name in names if name not in ("options", "heads")]
            return cls(
                arch=metadata["arch"],
                num_classes=int(metadata["num_classes"]),
                classes=tuple(_json(metadata, "classes", list)),
                palette=tuple(tuple(color) for color in _json(metadata, "palette", list)),
                normalization=Normalization.from_json(metadata["normalization"]),
                options=options,
                heads={head: tuple(classes) for head, classes in heads.items()},
                sources=dict.fromkeys([*told, *options], "file metadata"),
            )
        except (ValueError, TypeError, RecursionError) as error:
            raise CheckpointError(f"broken metadata: {error}. Convert the original checkpoint again") from error


def _check_options(options: Mapping[str, Any]) -> None:
    if not isinstance(options, Mapping):
        raise InputError(f"options is {options!r}; expected names and their values, such as {{'width': 1.0}}")
    for name, value in options.items():
        if not isinstance(name, str) or not isinstance(value, (bool, int, float, str, type(None))):
            raise InputError(f"option {name!r} is {value!r}; expected a number, a string, true, false or null")
        if isinstance(value, (int, float)) and not -_MOST < value < _MOST:
            raise InputError(f"option {name!r} is {value!r}; expected a number between -{_MOST} and {_MOST}")
    width = options.get("width", 1.0)
    if isinstance(width, bool) or not isinstance(width, (int, float)) or width <= 0:
        raise InputError(f"width is {width!r}; expected a positive number")


def _json(metadata: Mapping[str, str], name: str, kind: type[Any]) -> Any:
    data = json.loads(metadata[name])
    if not isinstance(data, kind):
        raise ValueError(f"{name} must be a JSON {'list' if kind is list else 'object'}")
    return data


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_byte(value: int) -> bool:
    return _is_whole(value) and 0 <= value <= 255
