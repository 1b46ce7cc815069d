"""What a checkpoint's network is, as told by arguments, metadata, tensors, the file's name, defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fcnrt.checkpoints.layouts import ArchRule, Layout
from fcnrt.checkpoints.shapes import fit_width
from fcnrt.checkpoints.stored import StoredTensor
from fcnrt.checkpoints.wording import few, quote
from fcnrt.errors import CheckpointError, InputError
from fcnrt.models import ARCHITECTURES
from fcnrt.palettes import VOC_CLASSES, voc_palette
from fcnrt.preprocessing import Normalization, get_normalization
from fcnrt.spec import ModelSpec

ARGUMENT, METADATA, SHAPES, FILE_NAME, DEFAULT = (
    "argument",
    "file metadata",
    "tensor shapes",
    "file name",
    "default",
)
"""The values of ``ModelSpec.sources``."""

MAX_CLASSES = 2**16


@dataclass(frozen=True)
class Overrides:
    """What the caller says; it goes before everything that the file says."""

    arch: str | None = None
    normalization: str | Normalization | None = None
    classes: Sequence[str] | None = None


def recognize(
    layout: Layout,
    tensors: Mapping[str, StoredTensor],
    *,
    path: Path,
    said: ModelSpec | None,
    trainer_arch: str | None,
    overrides: Overrides,
) -> tuple[ModelSpec, tuple[str, ...]]:
    """The spec of canonically named tensors whose shapes are all right, and notes on what was guessed.

    Args:
        layout: The row that the tensors fit.
        tensors: By canonical name.
        path: Its name may tell what the tensors cannot.
        said: The spec in the file's metadata, if any.
        trainer_arch: The name that a training program noted, if any.
        overrides: What the caller says.

    Raises:
        CheckpointError: Two of the sources contradict each other, or a shape is wrong.
        InputError: An override is of the wrong kind, or an unknown name.
    """
    rule = layout.rule(tensors)
    if said and said.arch not in ARCHITECTURES:
        raise CheckpointError(
            f"its metadata says arch {quote(said.arch)}; known are {', '.join(ARCHITECTURES)}. Update fcnrt"
        )
    noted = said.arch if said else trainer_arch
    arch, arch_source, notes = _arch(rule, overrides.arch, noted, path)
    num_classes = _num_classes(layout, tensors)
    if said and said.num_classes != num_classes:
        raise CheckpointError(
            f"its metadata says {said.num_classes} classes, and {layout.class_keys[0]} has {num_classes}; "
            "convert the original checkpoint again"
        )
    width = fit_width(tensors, arch, num_classes, layout.width_keys, said=said.width if said else None)
    classes, classes_source = _classes(num_classes, overrides.classes, said)
    normalization, normalization_source = _normalization(layout, overrides.normalization, said)
    spec = ModelSpec(
        arch=arch,
        num_classes=num_classes,
        classes=classes,
        palette=said.palette if said else voc_palette(num_classes),
        normalization=normalization,
        width=width,
        sources={
            "arch": arch_source,
            "num_classes": SHAPES,
            "classes": classes_source,
            "palette": METADATA if said else DEFAULT,
            "normalization": normalization_source,
            "width": METADATA if said and said.width == width else SHAPES,
        },
    )
    return spec, notes


def check_overrides(overrides: Overrides) -> None:
    """Refuses what no file can make right, before any file is opened.

    Raises:
        InputError: An unknown architecture or normalization, or class names that are not a list of strings.
    """
    if overrides.arch is not None and _known_arch(overrides.arch) is None:
        raise InputError(f"unknown architecture {overrides.arch!r}; known are {', '.join(ARCHITECTURES)}")
    if overrides.normalization is not None:
        get_normalization(overrides.normalization)
    classes = overrides.classes
    if classes is None:
        return
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise InputError(f"classes is {classes!r}; expected a list of names, one per class")
    if not all(isinstance(name, str) for name in classes):
        raise InputError(f"classes is {classes!r}; expected strings, one per class")


def _known_arch(name: object) -> str | None:
    """The architecture that a program calls ``FCN8sAtOnce``, ``fcn8s-atonce`` or ``FCN-8s at once``."""
    if not isinstance(name, str):
        return None
    squeezed = re.sub(r"[^a-z0-9]", "", name.lower())
    return next((arch for arch in ARCHITECTURES if arch.replace("-", "") == squeezed), None)


def _arch(rule: ArchRule, argument: str | None, noted: str | None, path: Path) -> tuple[str, str, tuple[str, ...]]:
    """The architecture, its source, and a note if it was guessed."""
    possible = (rule.arch, *rule.twins)
    for name, source in ((argument, ARGUMENT), (noted, METADATA)):
        arch = _known_arch(name)  # trainers also note names that say nothing, such as DataParallel
        if arch is not None and arch not in possible:
            said = f"arch={arch!r} was asked for" if source == ARGUMENT else f"its metadata says {arch!r}"
            raise CheckpointError(
                f"{said}, but its tensors are those of {' or '.join(map(repr, possible))}; pass arch={rule.arch!r}"
            )
        if arch is not None:
            return arch, source, ()
    if not rule.twins:
        return rule.arch, SHAPES, ()
    for twin, pattern in rule.twins.items():
        if re.search(pattern, path.name.lower()):
            note = f"arch {twin!r} was taken from the file's name; the tensors of {rule.arch!r} look the same"
            return twin, FILE_NAME, (note,)
    others = " or ".join(f"arch={twin!r}" for twin in rule.twins)
    note = f"arch {rule.arch!r} is assumed; pass {others} if it is one: their tensors look the same"
    return rule.arch, DEFAULT, (note,)


def _num_classes(layout: Layout, tensors: Mapping[str, StoredTensor]) -> int:
    counts = {key: tensors[key].shape[0] for key in layout.class_keys if key in tensors and tensors[key].shape}
    key, count = next(iter(counts.items()))
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{key} has {count}" for key, count in counts.items())
        raise CheckpointError(f"its layers disagree about the number of classes ({listed}); expected the same in all")
    if not 1 <= count <= MAX_CLASSES:
        raise CheckpointError(f"{key} has {count} classes; expected 1 to {MAX_CLASSES}")
    return count


def _classes(num_classes: int, argument: Sequence[str] | None, said: ModelSpec | None) -> tuple[tuple[str, ...], str]:
    if argument is not None:
        if len(argument) != num_classes:
            raise CheckpointError(
                f"classes= has {len(argument)} names ({few(argument)}), the network has {num_classes}; "
                "give one name per class, background included"
            )
        return tuple(argument), ARGUMENT
    if said is not None:
        return said.classes, METADATA
    if num_classes == len(VOC_CLASSES):
        return VOC_CLASSES, DEFAULT
    return tuple(f"class {index}" for index in range(num_classes)), DEFAULT


def _normalization(
    layout: Layout, argument: str | Normalization | None, said: ModelSpec | None
) -> tuple[Normalization, str]:
    if argument is not None:
        return get_normalization(argument), ARGUMENT
    if said is not None:
        return said.normalization, METADATA
    return get_normalization(layout.normalization), DEFAULT
