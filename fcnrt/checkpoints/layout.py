"""What a row of the table of layouts can say: how one program names the parameters of its networks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias

from fcnrt.checkpoints.chains import Chain
from fcnrt.checkpoints.rewriting import Step
from fcnrt.checkpoints.stored import StoredTensor
from fcnrt.checkpoints.wording import counted, quote
from fcnrt.errors import CheckpointError

Shape: TypeAlias = int | tuple[int | None, ...]
"""A number of dimensions, or extents of which None fits any."""

UNUSED = re.compile(r"(.*\.)?num_batches_tracked|n_averaged")
"""Counters that training needs and inference does not; no layout has them among its canonical names."""


@dataclass(frozen=True)
class Unsaid:
    """An option that the tensors cannot tell.

    Args:
        option: One of the architecture's.
        noted: Pattern of what the training program noted, in lower case -> value, or the type of what its group is; the
            first that fits counts.
        named: Pattern of a lower-case file name -> value.
        default: Otherwise.
        why: Said with the default.
    """

    option: str
    default: Any
    noted: Mapping[str, Any] = field(default_factory=dict)
    named: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True)
class ArchRule:
    """An architecture, how its tensors are told from others', and what they can be mistaken for.

    Args:
        arch: A name of ``fcnrt.models.ARCHITECTURES``.
        has: Canonical keys that must be there -> their shapes.
        lacks: Canonical keys that must not.
        options: The architecture's options that this means.
        counts: The architecture's options that are class counts -> canonical keys whose first extent it is.
        unsaid: Options that neither this nor a shape tells.
        twins: Other architectures with the same tensors -> pattern of a lower-case file name that tells them.
        steps: Change the tensors, renamed, to what the architecture has.
        told: What the steps have to be told and the architecture does not know, by the names of their fields.
        normalization: Instead of the layout's.
    """

    arch: str
    has: Mapping[str, Shape] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unsaid: tuple[Unsaid, ...] = ()
    twins: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    told: tuple[Unsaid, ...] = ()
    normalization: str = ""

    def steps_with(self, told: Mapping[str, Any]) -> tuple[Step, ...]:
        """The steps, once they are told.

        Raises:
            InputError: A value is none that a step takes.
        """
        return tuple(_told(step, told) for step in self.steps)

    def fits(self, tensors: Mapping[str, StoredTensor]) -> bool:
        """Whether canonically named tensors can be this architecture's."""
        return not lacking(self.has, tensors) and not any(key in tensors for key in self.lacks)


@dataclass(frozen=True)
class Layout:
    """One program's naming.

    Args:
        name: What ``fcnrt info`` prints.
        signature: Keys of the file that all must be there -> their shapes.
        archs: The first rule that fits the renamed tensors is taken.
        chains: Convolutions that get their names by their order.
        renames: Pattern of a whole key -> replacement, as ``re.sub`` has it; one after the other.
        dropped: Pattern of a whole key that the networks here have no use for -> what it is, or nothing if that is
            not worth a note.
        class_keys: Canonical keys whose first extent is the class count; the first is the authority.
        width_keys: Canonical keys -> first extent at width 1; the earliest that explains all shapes is taken.
        normalization: The program's input convention, for files that do not say.
        normalizations: Pattern of what the training program noted or of a file name, in lower case -> its convention.
        doubt: Why the convention may be another, said where nothing else tells it.
        class_names: Names of the classes by their number, for files that do not say.
        refusal: Not a network that can be run: what it is, and what to do.
    """

    name: str
    signature: Mapping[str, Shape]
    archs: tuple[ArchRule, ...] = ()
    chains: tuple[Chain, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    dropped: Mapping[str, str] = field(default_factory=dict)
    class_keys: tuple[str, ...] = ()
    width_keys: Mapping[str, int] = field(default_factory=dict)
    normalization: str = ""
    normalizations: Mapping[str, str] = field(default_factory=dict)
    doubt: str = ""
    class_names: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    refusal: str = ""

    def canonical(self, tensors: Mapping[str, StoredTensor]) -> tuple[dict[str, StoredTensor], tuple[str, ...]]:
        """The tensors under canonical names, and notes on those that are left out.

        Raises:
            CheckpointError: Two of them get the same name, or a chain has another length than its network's.
        """
        kept, notes = self._kept(tensors)
        for chain in self.chains:
            kept = _renamed(kept, chain.rename(kept))
        return _renamed(kept, {key: self._rename(key) for key in kept}), notes

    def rule(self, tensors: Mapping[str, StoredTensor]) -> ArchRule:
        """The architecture of canonically named tensors.

        Raises:
            CheckpointError: They are of none.
        """
        for rule in self.archs:
            if rule.fits(tensors):
                return rule
        raise CheckpointError(
            f"it is named as {self.name} names its networks, but its tensors are of none that fcnrt knows of it: "
            f"{', '.join(dict.fromkeys(rule.arch for rule in self.archs))}"
        )

    def _kept(self, tensors: Mapping[str, StoredTensor]) -> tuple[dict[str, StoredTensor], tuple[str, ...]]:
        kept, left_out = {}, dict.fromkeys(self.dropped.values(), 0)
        for key, tensor in tensors.items():
            pattern = next((pattern for pattern in self.dropped if re.fullmatch(pattern, key)), None)
            if pattern is not None:
                left_out[self.dropped[pattern]] += 1
            elif not UNUSED.fullmatch(key):
                kept[key] = tensor
        notes = (
            f"left out: {counted(count, 'tensor')} of {what}" for what, count in left_out.items() if what and count
        )
        return kept, tuple(notes)

    def _rename(self, key: str) -> str:
        for pattern, replacement in self.renames:
            match = re.fullmatch(pattern, key)
            if match:
                key = match.expand(replacement)
        return key


def lacking(signature: Mapping[str, Shape], tensors: Mapping[str, StoredTensor]) -> list[str]:
    """What of a signature is not there."""
    found = []
    for key, expected in signature.items():
        if key not in tensors:
            found.append(f"{key} is missing")
        elif not _fits(tensors[key].shape, expected):
            found.append(f"{key} has {_described(tensors[key].shape, expected)}")
    return found


def _fits(shape: tuple[int, ...], expected: Shape) -> bool:
    if isinstance(expected, int):
        return len(shape) == expected
    return len(shape) == len(expected) and all(
        want is None or extent == want for extent, want in zip(shape, expected, strict=True)
    )


def _described(shape: tuple[int, ...], expected: Shape) -> str:
    if isinstance(expected, int):
        return f"{len(shape)} dimensions, expected {expected}"
    return f"shape {shape}, expected {expected}"


def _renamed(tensors: Mapping[str, StoredTensor], names: Mapping[str, str]) -> dict[str, StoredTensor]:
    renamed: dict[str, StoredTensor] = {}
    for key, tensor in tensors.items():
        name = names.get(key, key)
        if name in renamed:
            raise CheckpointError(f"it has {quote(name)} twice, under two programs' names; keep one")
        renamed[name] = tensor
    return renamed


def archs_of(layouts: Iterable[Layout]) -> list[str]:
    """Every architecture of these rows, once."""
    rules = (rule for layout in layouts for rule in layout.archs)
    return list(dict.fromkeys(name for rule in rules for name in (rule.arch, *rule.twins)))


def _told(step: Any, told: Mapping[str, Any]) -> Step:
    """``step`` with those of the values that it has fields for."""
    named = {field.name: told[field.name] for field in fields(step) if field.name in told}
    return replace(step, **named)  # type: ignore[no-any-return]  # steps are dataclasses
