"""fcnrt's own files: a spec in the metadata, canonical names, nothing to guess."""

from __future__ import annotations

from dataclasses import replace

from fcnrt.checkpoints.rewriting import Shapes
from fcnrt.checkpoints.saying import ARGUMENT, Overrides, known_arch
from fcnrt.checkpoints.shapes import fit_width
from fcnrt.checkpoints.wording import few, plain_name, quote
from fcnrt.errors import CheckpointError, InputError
from fcnrt.models.registry import ARCHITECTURES, check_options
from fcnrt.preprocessing import get_normalization
from fcnrt.spec import ModelSpec

NAME = "fcnrt"


def own_spec(said: ModelSpec, shapes: Shapes, overrides: Overrides) -> ModelSpec:
    """What the metadata says, with what the caller says instead; checked against the tensors.

    Raises:
        CheckpointError: The metadata says what the tensors are not, or what this version of fcnrt does not know.
        InputError: The caller gives an option that the architecture does not have.
    """
    if said.arch not in ARCHITECTURES:
        raise CheckpointError(
            f"its metadata says arch {quote(said.arch)}; known are {', '.join(ARCHITECTURES)}. Update fcnrt"
        )
    try:
        check_options(said.arch, said.options)
    except InputError as error:
        raise CheckpointError(f"its metadata does not fit: {error}. Update fcnrt") from error
    spec = _presentable(replace(said, sources=dict(said.sources)))
    arch = known_arch(overrides.arch)
    if arch is not None:
        spec = replace(spec, arch=arch, sources={**spec.sources, "arch": ARGUMENT})
    if overrides.options:
        check_options(spec.arch, overrides.options)
        sources = {**spec.sources, **dict.fromkeys(overrides.options, ARGUMENT)}
        spec = replace(spec, options={**spec.options, **overrides.options}, sources=sources)
    if overrides.normalization is not None:
        rule = get_normalization(overrides.normalization)
        spec = replace(spec, normalization=rule, sources={**spec.sources, "normalization": ARGUMENT})
    if overrides.classes is not None:
        if len(overrides.classes) != spec.num_classes:
            raise CheckpointError(
                f"classes= has {len(overrides.classes)} names ({few(overrides.classes)}), the network has "
                f"{spec.num_classes}; give one name per class, background included"
            )
        classes = tuple(overrides.classes)
        heads = {head: names if index else classes for index, (head, names) in enumerate(spec.heads.items())}
        spec = replace(spec, classes=classes, heads=heads, sources={**spec.sources, "classes": ARGUMENT})
    _check(spec, shapes)
    return spec


def _presentable(spec: ModelSpec) -> ModelSpec:
    """What is shown on a terminal, without what a terminal would obey."""
    heads = {head: tuple(map(plain_name, names)) for head, names in spec.heads.items()}
    rule = replace(spec.normalization, name=plain_name(spec.normalization.name))
    return replace(spec, classes=tuple(map(plain_name, spec.classes)), heads=heads, normalization=rule)


def _check(spec: ModelSpec, shapes: Shapes) -> None:
    try:
        fit = fit_width(shapes, spec.arch, spec.num_classes, spec.options, {}, said=spec.width)
    except InputError as error:
        raise CheckpointError(f"its metadata does not fit {spec.arch}: {error}") from error
    heads = {head: len(names) for head, names in spec.heads.items()}
    if heads != (dict(fit.head_classes) if len(fit.head_classes) > 1 else {}):
        raise CheckpointError(
            f"its metadata has names for the heads {heads}, and the network has {dict(fit.head_classes)}; "
            "convert the original checkpoint again"
        )
