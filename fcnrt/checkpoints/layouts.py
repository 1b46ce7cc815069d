"""How published programs name the parameters of their networks: one row per program.

A row says how its files are recognised, how its names become the canonical ones (those of ``fcnrt.models``),
which architectures the tensors can be, and what the file leaves unsaid. A new program is a new row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fcnrt.checkpoints.stored import StoredTensor
from fcnrt.checkpoints.wording import few, quote
from fcnrt.errors import CheckpointError


@dataclass(frozen=True)
class ArchRule:
    """An architecture, and what its tensors can be mistaken for.

    Args:
        arch: A name of ``fcnrt.models.ARCHITECTURES``.
        any_of: Canonical keys of which one must be there; an empty one fits every file (the last resort).
        twins: Other architectures with the same tensors -> pattern of a lower-case file name that tells them.
    """

    arch: str
    any_of: tuple[str, ...] = ()
    twins: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """One program's naming.

    Args:
        name: What ``fcnrt info`` prints.
        signature: Keys that all must be there -> number of dimensions.
        archs: The first rule that fits the renamed tensors is taken.
        renames: Its module paths -> canonical ones; absent ones stay. The last part (weight, bias) is kept.
        class_keys: Canonical keys whose first extent is the class count; the first is the authority.
        width_keys: Canonical keys -> first extent at width 1; the earliest that explains all shapes is taken.
        normalization: The program's input convention, for files that do not say.
        refusal: Not a network that can be run: what it is, and what to do.
    """

    name: str
    signature: Mapping[str, int]
    archs: tuple[ArchRule, ...] = ()
    renames: Mapping[str, str] = field(default_factory=dict)
    class_keys: tuple[str, ...] = ()
    width_keys: Mapping[str, int] = field(default_factory=dict)
    normalization: str = ""
    refusal: str = ""

    def canonical(self, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
        """The tensors under canonical names.

        Raises:
            CheckpointError: Two of them get the same name.
        """
        renamed: dict[str, StoredTensor] = {}
        for key, tensor in tensors.items():
            module, dot, leaf = key.rpartition(".")
            name = self.renames.get(module, module) + dot + leaf
            if name in renamed:
                raise CheckpointError(f"it has {quote(name)} twice, under two programs' names; keep one")
            renamed[name] = tensor
        return renamed

    def rule(self, tensors: Mapping[str, StoredTensor]) -> ArchRule:
        """The architecture of canonically named tensors."""
        return next(rule for rule in self.archs if not rule.any_of or any(key in tensors for key in rule.any_of))


LAYOUTS: tuple[Layout, ...] = (
    # wkentaro/pytorch-fcn torchfcn/models/fcn{32s,16s,8s}.py, since August 2017; fcnrt's own files too.
    Layout(
        name="pytorch-fcn",
        signature={"fc6.weight": 4, "score_fr.weight": 4},
        archs=(
            ArchRule("fcn8s", ("upscore8.weight", "score_pool3.weight"), {"fcn8s-atonce": r"at[-_ ]?once"}),
            ArchRule("fcn16s", ("upscore16.weight", "score_pool4.weight")),
            ArchRule("fcn32s"),
        ),
        class_keys=(
            "score_fr.weight",
            "score_pool4.weight",
            "score_pool3.weight",
            "upscore.weight",
            "upscore2.weight",
            "upscore16.weight",
            "upscore_pool4.weight",
            "upscore8.weight",
        ),
        width_keys={"conv1_1.weight": 64, "fc6.weight": 4096},
        normalization="caffe-voc",
    ),
    Layout(
        name="VGG classifier",
        signature={"features.0.weight": 4, "classifier.0.weight": 2, "classifier.6.weight": 2},
        refusal="an ImageNet VGG classifier, not an FCN: it names a whole image and has no layer that scores "
        "pixels. Give a network that was trained for segmentation",
    ),
)


def find_layout(tensors: Mapping[str, StoredTensor]) -> Layout:
    """The row that the tensors' names and dimensions fit.

    Raises:
        CheckpointError: None does, or they are known to be something else.
    """
    for layout in LAYOUTS:
        if not _lacking(layout, tensors):
            if layout.refusal:
                raise CheckpointError(f"it is {layout.refusal}")
            return layout
    known = [layout for layout in LAYOUTS if not layout.refusal]
    nearest = min(known, key=lambda layout: len(_lacking(layout, tensors)) / len(layout.signature))
    lacking = _lacking(nearest, tensors)
    hint = ""
    if len(lacking) < len(nearest.signature):
        hint = f". The nearest is {nearest.name}, but {' and '.join(lacking)}"
    raise CheckpointError(
        f"its {len(tensors)} tensors ({few(tensors)}) are no network that fcnrt knows; expected the names of "
        f"{', '.join(layout.name for layout in known)}{hint}"
    )


def _lacking(layout: Layout, tensors: Mapping[str, StoredTensor]) -> list[str]:
    """What of the signature is not there."""
    lacking = []
    for key, ndim in layout.signature.items():
        if key not in tensors:
            lacking.append(f"{key} is missing")
        elif len(tensors[key].shape) != ndim:
            lacking.append(f"{key} has {len(tensors[key].shape)} dimensions, expected {ndim}")
    return lacking
