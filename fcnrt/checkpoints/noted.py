"""What training programs save beside the weights, as far as it says what the network is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from fcnrt.checkpoints.pickle_values import Instance
from fcnrt.checkpoints.wording import plain_name

_LONGEST, _LONGEST_LINE = 2**16, 500
"""Characters of a configuration, and of a line of it; mmseg's take ten thousand. Patterns that are looked for in them
take time in proportion to the square of a line's."""
_MOST = 2**16
"""Names and colours, of one class each."""


@dataclass(frozen=True)
class Notes:
    """Anything of it may be absent.

    Args:
        arch: The network's name or class.
        text: Configuration, in lower case, to be searched by ``layouts``' patterns.
        classes: Names.
        palette: (R, G, B) of each class.
    """

    arch: str | None = None
    text: str = ""
    classes: tuple[str, ...] | None = None
    palette: tuple[tuple[int, int, int], ...] | None = None

    def merge(self, other: Notes) -> Notes:
        """These notes, completed by ``other``."""
        return Notes(
            arch=self.arch or other.arch,
            text=f"{self.text}\n{other.text}".strip()[:_LONGEST],
            classes=self.classes or other.classes,
            palette=self.palette or other.palette,
        )


def notes_of(payload: dict[Any, Any]) -> Notes:
    """The notes in what a training program saved.

    ``arch`` is a name in pytorch-fcn's trainer, and in many after it. mmseg has ``meta`` with the text of its
    configuration (``config``, later ``cfg``), ``CLASSES`` and ``PALETTE`` (later inside ``dataset_meta``). yassouali
    has its configuration as a dictionary, torchvision's reference the command line as a Namespace (``args``).
    """
    arch = payload.get("arch")
    notes = Notes(arch=arch if isinstance(arch, str) else None)
    config = _attributes(payload.get("config"))
    if config:
        kind = _attributes(config.get("arch")).get("type")
        notes = replace(notes, text=_lines(config), arch=kind if isinstance(kind, str) else notes.arch)
    meta = _attributes(payload.get("meta"))
    texts = [text[:_LONGEST] for text in (meta.get("config"), meta.get("cfg")) if isinstance(text, str)]
    lines = [line[:_LONGEST_LINE] for text in texts for line in text.splitlines()]
    dataset = {key.lower(): meta[key] for key in ("CLASSES", "PALETTE", "classes", "palette") if key in meta}
    dataset |= _attributes(meta.get("dataset_meta"))
    said = Notes(
        text="\n".join(lines).lower(),
        classes=_names(dataset.get("classes")),
        palette=_colors(dataset.get("palette")),
    )
    return notes.merge(said).merge(Notes(text=_lines(_attributes(payload.get("args")))))


def _attributes(value: Any) -> dict[Any, Any]:
    if isinstance(value, Instance):
        return value.attributes
    return value if isinstance(value, dict) else {}


def _lines(config: dict[Any, Any]) -> str:
    """``train_loader.type=voc``, one line for each text, two levels deep."""
    lines: list[str] = []
    length = 0
    for line in _pairs(config):
        lines.append(line)
        length += len(line)
        if length > _LONGEST:  # a dictionary that is there many times makes more lines than fit into memory
            break
    return "\n".join(lines)[:_LONGEST].lower()


def _pairs(config: dict[Any, Any], prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        if isinstance(value, str):
            yield f"{prefix}{str(key)[:99]}={value[:99]}"
        elif isinstance(value, dict) and not prefix:
            yield from _pairs(value, f"{str(key)[:99]}.")


def _names(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, (list, tuple)) and 0 < len(value) <= _MOST and all(isinstance(name, str) for name in value):
        return tuple(plain_name(name[:99]) for name in value)
    return None


def _colors(value: Any) -> tuple[tuple[int, int, int], ...] | None:
    if not isinstance(value, (list, tuple)) or not 0 < len(value) <= _MOST:
        return None
    colors = [tuple(color) for color in value if isinstance(color, (list, tuple)) and len(color) == 3]
    if len(colors) != len(value) or not all(
        type(part) is int and 0 <= part < 256 for color in colors for part in color
    ):
        return None
    return tuple((red, green, blue) for red, green, blue in colors)
