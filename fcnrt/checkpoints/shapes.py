"""Whether a file's tensors are, by name and by shape, those of a network. No weight is read here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fcnrt.checkpoints.layout import UNUSED
from fcnrt.checkpoints.rewriting import Shapes
from fcnrt.checkpoints.wording import few, quote
from fcnrt.errors import CheckpointError
from fcnrt.models.registry import create_skeleton

MAX_WIDTH = 64.0


@dataclass(frozen=True)
class Fit:
    """A width multiplier at which every tensor has the right shape, and the classes of each head."""

    width: float
    head_classes: Mapping[str, int]


def fit_width(
    shapes: Shapes,
    arch: str,
    num_classes: int,
    options: Mapping[str, Any],
    width_keys: Mapping[str, int],
    *,
    said: float | None = None,
) -> Fit:
    """The width multiplier at which every tensor has the shape that ``arch`` wants.

    Channel counts are rounded, so a slim first layer tells the width only roughly: what somebody ``said`` is tried
    first, then each of ``width_keys`` (key -> first extent at width 1).

    Raises:
        CheckpointError: Keys are missing or unexpected, or shapes are wrong at every width.
        InputError: An option has a value that ``arch`` does not take.
    """
    widths = [] if said is None else [said]
    for key, full in width_keys.items():
        if shapes.get(key):
            widths.append(shapes[key][0] / full)
    problems = []
    for width in widths or [1.0]:
        if not 0 < width <= MAX_WIDTH:
            raise CheckpointError(
                f"its layers are {width} times as wide as the original's; expected at most {MAX_WIDTH}"
            )
        model = create_skeleton(arch, num_classes, **{**options, "width": width})
        expected = {key: tuple(value.shape) for key, value in model.state_dict().items() if not UNUSED.fullmatch(key)}
        problem = _mismatch(shapes, expected, arch)
        if not problem:
            return Fit(width, model.head_classes)
        problems.append(problem)
    raise CheckpointError(problems[0])


def _mismatch(shapes: Shapes, expected: Shapes, arch: str) -> str:
    """What is wrong, in words; nothing if all is right."""
    missing = [key for key in expected if key not in shapes]
    unexpected = [key for key in shapes if key not in expected]
    if missing or unexpected:
        found = [
            f"{len(keys)} {kind} ({few(keys)})"
            for keys, kind in ((missing, "missing"), (unexpected, "unexpected"))
            if keys
        ]
        return f"its tensors are not those of {arch}: {' and '.join(found)}; expected {len(expected)} in all"
    wrong = [key for key in expected if shapes[key] != expected[key]]
    if wrong:
        key = wrong[0]
        more = f" ({len(wrong) - 1} more are wrong)" if len(wrong) > 1 else ""
        return (
            f"{quote(key)} has shape {shapes[key]}; expected {expected[key]} for {arch}{more}. "
            "Is it a checkpoint of another network?"
        )
    return ""
