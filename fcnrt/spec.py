"""What a network is beside its weights: architecture, classes, colours, input convention, and who says so."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from fcnrt.errors import CheckpointError, InputError
from fcnrt.preprocessing import Normalization

FORMAT_KEY = "fcnrt_format"
_FORMAT = "1"


@dataclass(frozen=True)
class ModelSpec:
    """Everything that is needed to rebuild and use a network, except its tensors.

    Args:
        arch: A name of ``fcnrt.models.ARCHITECTURES``.
        num_classes: Score channels, at least 1.
        classes: One name per class.
        palette: One (R, G, B) in 0..255 per class.
        normalization: How images become input.
        width: Multiplies every channel count of the original network; 1.0 is VGG16.
        sources: Field name -> where its value came from: ``"argument"``, ``"file metadata"``,
            ``"tensor shapes"``, ``"file name"`` or ``"default"``. Two specs that say the same are
            equal, whoever said it.

    Raises:
        InputError: A field is of the wrong kind, or the lengths disagree.
    """

    arch: str
    num_classes: int
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    normalization: Normalization
    width: float = 1.0
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.arch, str) or not self.arch:
            raise InputError(f"arch is {self.arch!r}; expected the name of an architecture")
        if isinstance(self.num_classes, bool) or not isinstance(self.num_classes, int) or self.num_classes < 1:
            raise InputError(f"num_classes is {self.num_classes!r}; expected a whole number of at least 1")
        if not isinstance(self.width, (int, float)) or not 0 < self.width < math.inf:
            raise InputError(f"width is {self.width!r}; expected a positive number")
        if not all(isinstance(name, str) for name in self.classes):
            raise InputError(f"class names must be strings, found {self.classes!r}")
        if not all(len(color) == 3 and all(map(_is_byte, color)) for color in self.palette):
            raise InputError("every palette colour must be three whole numbers (R, G, B) in 0..255")
        for name in ("classes", "palette"):
            length = len(getattr(self, name))
            if length != self.num_classes:
                raise InputError(f"{name} has {length} entries for {self.num_classes} classes; expected one per class")

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
            "width": repr(float(self.width)),
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
            return cls(
                arch=metadata["arch"],
                num_classes=int(metadata["num_classes"]),
                classes=tuple(_json_list(metadata, "classes")),
                palette=tuple(tuple(color) for color in _json_list(metadata, "palette")),
                normalization=Normalization.from_json(metadata["normalization"]),
                width=float(metadata["width"]),
                sources=dict.fromkeys(names, "file metadata"),
            )
        except (ValueError, TypeError, RecursionError) as error:
            raise CheckpointError(f"broken metadata: {error}. Convert the original checkpoint again") from error


def _json_list(metadata: Mapping[str, str], name: str) -> list[Any]:
    data = json.loads(metadata[name])
    if not isinstance(data, list):
        raise ValueError(f"{name} must be a JSON list")
    return data


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_byte(value: int) -> bool:
    return _is_whole(value) and 0 <= value <= 255
