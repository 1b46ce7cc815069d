"""Whether a file's tensors are, by name and by shape, those of a network. No weight is read here."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from fcnrt.checkpoints.stored import StoredTensor
from fcnrt.checkpoints.wording import few, quote
from fcnrt.errors import CheckpointError
from fcnrt.models import create_model

MAX_WIDTH = 64.0


def fit_width(
    tensors: Mapping[str, StoredTensor],
    arch: str,
    num_classes: int,
    width_keys: Mapping[str, int],
    *,
    said: float | None = None,
) -> float:
    """The width multiplier at which every tensor has the shape that ``arch`` wants.

    Channel counts are rounded, so a slim first layer tells the width only roughly: what the file ``said`` is
    tried first, then each of ``width_keys`` (key -> first extent at width 1).

    Raises:
        CheckpointError: Keys are missing or unexpected, or shapes are wrong at every width.
    """
    widths = [] if said is None else [said]
    for key, full in width_keys.items():
        if key in tensors and tensors[key].shape:
            widths.append(tensors[key].shape[0] / full)
    problems = []
    for width in widths or [1.0]:
        if not 0 < width <= MAX_WIDTH:
            raise CheckpointError(f"its layers are {width} times as wide as VGG16; expected at most {MAX_WIDTH}")
        problem = _mismatch(tensors, _expected(arch, num_classes, width), arch)
        if not problem:
            return width
        problems.append(problem)
    raise CheckpointError(problems[0])


def _expected(arch: str, num_classes: int, width: float) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):  # shapes alone, no memory
        model = create_model(arch, num_classes, width=width)
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


def _mismatch(tensors: Mapping[str, StoredTensor], expected: Mapping[str, tuple[int, ...]], arch: str) -> str:
    """What is wrong, in words; nothing if all is right."""
    missing = [key for key in expected if key not in tensors]
    unexpected = [key for key in tensors if key not in expected]
    if missing or unexpected:
        found = [
            f"{len(keys)} {kind} ({few(keys)})"
            for keys, kind in ((missing, "missing"), (unexpected, "unexpected"))
            if keys
        ]
        return f"its tensors are not those of {arch}: {' and '.join(found)}; expected {len(expected)} in all"
    wrong = [key for key in expected if tensors[key].shape != expected[key]]
    if wrong:
        key = wrong[0]
        more = f" ({len(wrong) - 1} more are wrong)" if len(wrong) > 1 else ""
        return (
            f"{quote(key)} has shape {tensors[key].shape}; expected {expected[key]} for {arch}{more}. "
            "Is it a checkpoint of another network?"
        )
    return ""
