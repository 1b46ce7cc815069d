"""What a published program's network is, told by arguments, notes in the file, tensors, its name, defaults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fcnrt.checkpoints.layout import ArchRule, Layout, Unsaid
from fcnrt.checkpoints.rewriting import Shapes, Step
from fcnrt.checkpoints.saying import (
    ARGUMENT,
    DEFAULT,
    FILE_NAME,
    METADATA,
    REGISTRY,
    SHAPES,
    Said,
    known_arch,
    match_arch,
    squeeze,
)
from fcnrt.checkpoints.shapes import fit_width
from fcnrt.checkpoints.wording import few
from fcnrt.errors import CheckpointError
from fcnrt.models.registry import check_options
from fcnrt.palettes import VOC_CLASSES, voc_palette
from fcnrt.preprocessing import Normalization, get_normalization
from fcnrt.spec import ModelSpec

MAX_CLASSES = 2**16


class Recognition:
    """One file's way to its spec: each method decides one field, and keeps its source and what should be noted.

    Args:
        layout: The row that the tensors fit.
        rule: The rule of that row.
        shapes: Of the tensors, by canonical name.
        said: What is known beside them.
    """

    def __init__(self, layout: Layout, rule: ArchRule, shapes: Shapes, said: Said) -> None:
        self.layout, self.rule, self.shapes, self.said = layout, rule, shapes, said
        self.sources: dict[str, str] = {}
        self.notes: list[str] = []
        self.told: dict[str, Any] = {}
        """What the rule's steps have to be told, once ``spec`` has found it out."""
        self.steps: tuple[Step, ...] = ()
        """The rule's, told."""

    def spec(self) -> ModelSpec:
        """The spec of tensors whose shapes are all right.

        Raises:
            CheckpointError: Two of the sources contradict each other, or a shape is wrong.
            InputError: The caller gives an option that the architecture does not have, or a value of another kind.
        """
        arch = self._arch()
        options = self._options(arch)
        num_classes = self._count(self.layout.class_keys)
        said_width = options.pop("width", None)
        fit = fit_width(self.shapes, arch, num_classes, options, self.layout.width_keys, said=said_width)
        self.sources |= {"num_classes": SHAPES, "width": ARGUMENT if fit.width == said_width else SHAPES}
        classes = self._classes(num_classes)
        heads = {head: classes if not index else self._class_names(count)
                 for index, (head, count) in enumerate(fit.head_classes.items())}  # fmt: skip
        return ModelSpec(
            arch=arch,
            num_classes=num_classes,
            classes=classes,
            palette=self._palette(num_classes),
            normalization=self._normalization(),
            options={"width": fit.width, **options},
            heads=heads if len(heads) > 1 else {},
            sources=self.sources,
        )

    def _arch(self) -> str:
        rule, possible = self.rule, (self.rule.arch, *self.rule.twins)
        asked = known_arch(self.said.overrides.arch)
        if asked is not None:
            return self._possible(asked, possible, f"arch={asked!r} was asked for", ARGUMENT)
        noted = self._noted_arch(possible)
        if noted is not None:
            return self._possible(noted, possible, f"its metadata says {noted!r}", METADATA)
        if not rule.twins:
            self.sources["arch"] = SHAPES
            return rule.arch
        registered = known_arch(self.said.registry.arch)
        if registered is not None:
            return self._possible(registered, possible, f"the registry says {registered!r}", REGISTRY)
        named = self.said.search({}, {pattern: twin for twin, pattern in rule.twins.items()})
        if named is not None:
            self.sources["arch"] = FILE_NAME
            self.notes.append(
                f"arch {named[0]!r} was taken from the file's name; the tensors of {rule.arch!r} look the same"
            )
            return str(named[0])
        others = " or ".join(f"arch={twin!r}" for twin in rule.twins)
        self.sources["arch"] = DEFAULT
        self.notes.append(f"arch {rule.arch!r} is assumed; pass {others} if it is one: their tensors look the same")
        return rule.arch

    def _possible(self, arch: str, possible: tuple[str, ...], said: str, source: str) -> str:
        if arch not in possible:
            raise CheckpointError(
                f"{said}, but its tensors are those of {' or '.join(map(repr, possible))}; pass arch={self.rule.arch!r}"
            )
        self.sources["arch"] = source
        return arch

    def _noted_arch(self, possible: tuple[str, ...]) -> str | None:
        """The architecture that the training program noted, if it means one of this layout's.

        Programs also note names that say nothing, such as DataParallel, and call their own nets what others call
        theirs: ``FCN8s`` is ``pochih-fcn8s`` in a file of pochih's.
        """
        noted = self.said.noted.arch
        family = [name for rule in self.layout.archs for name in (rule.arch, *rule.twins)]
        found = match_arch(noted, family)
        if found is None and isinstance(noted, str) and squeeze(noted):
            found = next((arch for arch in possible if squeeze(arch).endswith(squeeze(noted))), None)
        return found

    def _options(self, arch: str) -> dict[str, Any]:
        """The architecture's options, ``width`` only if the caller says it."""
        options: dict[str, Any] = dict(self.rule.options)
        options |= {option: self._count(keys) for option, keys in self.rule.counts.items()}
        self.sources |= dict.fromkeys(options, SHAPES)
        asked = dict(self.said.overrides.options)
        told = {unsaid.option: asked.pop(unsaid.option, None) for unsaid in self.rule.told}
        check_options(arch, asked)
        options |= {unsaid.option: self._unsaid(unsaid) for unsaid in self.rule.unsaid if unsaid.option not in asked}
        for unsaid in self.rule.told:
            if told[unsaid.option] is None:
                told[unsaid.option] = self._unsaid(unsaid)
            else:
                self.sources[unsaid.option] = ARGUMENT
        self.told, self.steps = told, self.rule.steps_with(told)
        self.sources |= dict.fromkeys(asked, ARGUMENT)
        return options | asked

    def _unsaid(self, unsaid: Unsaid) -> Any:
        """An option that the caller does not say."""
        found = self.said.search(unsaid.noted, unsaid.named, self.said.registry.options.get(unsaid.option))
        value, self.sources[unsaid.option] = found or (unsaid.default, DEFAULT)
        if found is None:
            self.notes.append(
                f"{unsaid.option} {unsaid.default!r} is assumed; pass options={{{unsaid.option!r}: ...}} if it is "
                f"another: {unsaid.why}"
            )
        return value

    def _count(self, keys: Sequence[str]) -> int:
        """The number of classes that all of these layers have."""
        found = {key: self.shapes[key][0] for key in keys if self.shapes.get(key)}
        if not found:
            raise CheckpointError(f"it has none of {', '.join(keys[:2])}, which tell the number of classes")
        key, count = next(iter(found.items()))
        if len(set(found.values())) > 1:
            listed = ", ".join(f"{key} has {count}" for key, count in found.items())
            raise CheckpointError(
                f"its layers disagree about the number of classes ({listed}); expected the same in all"
            )
        if not 1 <= count <= MAX_CLASSES:
            raise CheckpointError(f"{key} has {count} classes; expected 1 to {MAX_CLASSES}")
        return count

    def _classes(self, num_classes: int) -> tuple[str, ...]:
        argument, noted = self.said.overrides.classes, self.said.noted.classes
        if argument is not None:
            if len(argument) != num_classes:
                raise CheckpointError(
                    f"classes= has {len(argument)} names ({few(argument)}), the network has {num_classes}; "
                    "give one name per class, background included"
                )
            self.sources["classes"] = ARGUMENT
            return tuple(argument)
        if noted is not None and len(noted) == num_classes:
            self.sources["classes"] = METADATA
            return noted
        registered = self.said.registry.classes
        if registered is not None and len(registered) == num_classes:
            self.sources["classes"] = REGISTRY
            return tuple(registered)
        self.sources["classes"] = DEFAULT
        return self._class_names(num_classes)

    def _class_names(self, count: int) -> tuple[str, ...]:
        known = {len(VOC_CLASSES): VOC_CLASSES, **self.layout.class_names}
        return known.get(count) or tuple(f"class {index}" for index in range(count))

    def _palette(self, num_classes: int) -> tuple[tuple[int, int, int], ...]:
        noted = self.said.noted.palette
        if noted is not None and len(noted) == num_classes:
            self.sources["palette"] = METADATA
            return noted
        self.sources["palette"] = DEFAULT
        return voc_palette(num_classes)

    def _normalization(self) -> Normalization:
        argument, patterns = self.said.overrides.normalization, self.layout.normalizations
        if argument is not None:
            self.sources["normalization"] = ARGUMENT
            return get_normalization(argument)
        found = self.said.search(patterns, patterns, self.said.registry.normalization)
        if found is not None:
            self.sources["normalization"] = found[1]
            return get_normalization(found[0])
        name = self.rule.normalization or self.layout.normalization
        self.sources["normalization"] = DEFAULT
        if self.layout.doubt and not self.rule.normalization:
            self.notes.append(
                f"normalization {name!r} is assumed: {self.layout.doubt}; pass normalization= if it is one"
            )
        return get_normalization(name)
