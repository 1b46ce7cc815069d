"""Every net as every program saves it: the rows of ``docs/checkpoints.md``, and the test that proves each.

    python -m tests.publishers.catalogue  # writes docs/checkpoints.md

The rows are those of ``fcnrt.checkpoints.layouts.LAYOUTS``. A test of this folder says which of them it proves with
``@pytest.mark.proves(layout, arch, *variants)``, and ``conftest.py`` holds it to that.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fcnrt.checkpoints.layout import ArchRule, Layout, Shape
from fcnrt.checkpoints.layouts import LAYOUTS
from fcnrt.checkpoints.rewriting import Step

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "checkpoints.md"
MARK = "proves"

Key = tuple[str, str, str]
"""A row's layout, architecture and variant; the last is empty where the first two say all."""


@dataclass(frozen=True)
class Publisher:
    """Where a program comes from, and what it writes.

    Args:
        home: The repository on GitHub.
        source: What in it defines the nets.
        container: What the file is, in words.
        containers: The same, as ``Checkpoint.container`` calls it.
    """

    home: str
    source: str
    container: str
    containers: tuple[str, ...] = ("torch zip", "torch legacy")


PUBLISHERS: Mapping[str, Publisher] = {
    "Caffe": Publisher(
        "shelhamer/fcn.berkeleyvision.org",
        "`*/net.py`; FCN-AlexNet with a group for each class is of NVIDIA/DIGITS",
        "`.caffemodel`, `layer` or the older `layers`",
        ("caffemodel",),
    ),
    "Caffe names": Publisher(
        "shelhamer/fcn.berkeleyvision.org",
        "`*/net.py`, converted by anybody",
        "`torch.save`: state dict",
    ),
    "pytorch-fcn": Publisher(
        "wkentaro/pytorch-fcn",
        "`torchfcn/models`",
        "`torch.save`: state dict, or under `model_state_dict`",
    ),
    "pytorch-fcn (early 2017)": Publisher(
        "wkentaro/pytorch-fcn",
        "`torchfcn/models/fcn32s.py` from February to August 2017",
        "`torch.save`: under `model_state_dict`",
    ),
    "chainer fcn": Publisher("wkentaro/fcn", "`fcn/models`", "`.npz`", ("npz",)),
    "ptsemseg": Publisher("meetps/pytorch-semseg", "`ptsemseg/models/fcn.py`", "`torch.save`: under `model_state`"),
    "zijundeng": Publisher(
        "zijundeng/pytorch-semantic-segmentation",
        "`models/fcn{8s,16s,32s}.py`",
        "`torch.save`: state dict",
    ),
    "yassouali": Publisher(
        "yassouali/pytorch-segmentation",
        "`models/fcn.py`",
        "`torch.save`: under `state_dict`, with `module.`",
    ),
    "Tramac": Publisher(
        "Tramac/awesome-semantic-segmentation-pytorch",
        "`core/models/fcn.py`",
        "`torch.save`: state dict",
    ),
    "pochih": Publisher(
        "pochih/FCN-pytorch",
        "`python/fcn.py`, and bat67/pytorch-FCN-easiest-demo",
        "`torch.save`: the module itself, in DataParallel or bare",
    ),
    "torchvision": Publisher(
        "pytorch/vision",
        "`torchvision/models/segmentation/fcn.py`, and its copies by WZMIAOMIAO and dusty-nv",
        "`torch.save`: state dict, or under `model`",
    ),
    "mmseg": Publisher(
        "open-mmlab/mmsegmentation",
        "`configs/fcn`, `mmseg/models/decode_heads/fcn_head.py`",
        "`torch.save`: under `state_dict`, with `meta`",
    ),
    "warmspringwinds": Publisher(
        "warmspringwinds/pytorch-segmentation-detection",
        "`resnet_dilated.py` and `resnet_fcn.py` in `pytorch_segmentation_detection/models`",
        "`torch.save`: state dict",
    ),
    "andrewssobral": Publisher(
        "andrewssobral/deep-learning-pytorch",
        "`segmentation/networks/FCN{32,16,8}.py`",
        "`torch.save`: state dict",
    ),
    "AI502": Publisher("", "`model/FCN_previous.py` of a course's assignment", "`torch.save`: state dict"),
}
"""By the names of layouts."""


@dataclass(frozen=True)
class Row:
    """A net as one program saves it.

    Args:
        layout: The program's naming.
        arch: What it is here.
        rules: Those of the layout that mean it.
        variant: Tells it from the program's other rows for the same net: what its steps are told, a key of the file, or
            a normalization.
    """

    layout: Layout
    arch: str
    rules: tuple[ArchRule, ...]
    variant: str

    @property
    def key(self) -> Key:
        return self.layout.name, self.arch, self.variant

    def means(self, layout: Layout, rule: ArchRule, arch: str) -> bool:
        """Whether it is the row of a file that was taken for these."""
        return layout is self.layout and arch == self.arch and any(rule is mine for mine in self.rules)


def rows() -> tuple[Row, ...]:
    """All of them, in the order of ``LAYOUTS``, a program's together.

    Rules of one layout that mean the same net, by the same arithmetic, are one row: they differ in what is optional.
    """
    found: dict[tuple[str, str], list[tuple[Layout, tuple[ArchRule, ...]]]] = {}
    for layout in LAYOUTS:
        if layout.refusal:
            continue
        alike: dict[tuple[str, tuple[Step, ...], str], list[ArchRule]] = {}
        for rule in layout.archs:
            for arch in (rule.arch, *rule.twins):
                alike.setdefault((arch, rule.steps, rule.normalization), []).append(rule)
        for (arch, *_), rules in alike.items():
            found.setdefault((layout.name, arch), []).append((layout, tuple(rules)))
    order = list(dict.fromkeys(layout.name for layout in LAYOUTS))
    return tuple(
        Row(
            layout,
            arch,
            rules,
            _variant(layout, rules, [other for other, theirs in rivals if theirs[0].told == rules[0].told]),
        )
        for (_, arch), rivals in sorted(found.items(), key=lambda item: order.index(item[0][0]))
        for layout, rules in rivals
    )


def _variant(layout: Layout, rules: tuple[ArchRule, ...], rivals: Sequence[Layout]) -> str:
    others = [rival for rival in rivals if rival is not layout]
    said = [unsaid.option for unsaid in rules[0].told]
    if others:
        said.append(next(key for key in layout.signature if not any(key in other.signature for other in others)))
    if len(rivals) - len(others) > 1:
        said.append(rules[0].normalization or layout.normalization)
    return " ".join(said)


def proofs(folder: Path = Path(__file__).parent) -> dict[Key, str]:
    """What the tests beside this file say that they prove -> ``path::name``.

    Raises:
        ValueError: Two of them prove the same.
    """
    found: dict[Key, str] = {}
    for path in sorted(folder.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef):
                name = f"{path.relative_to(ROOT).as_posix()}::{node.name}"
                for key in _claims(node):
                    if key in found:
                        raise ValueError(f"{' '.join(key)} is proved by {found[key]} and by {name}; one is enough")
                    found[key] = name
    return found


def _claims(test: ast.FunctionDef) -> Iterator[Key]:
    for decorator in test.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == f"pytest.mark.{MARK}":
            yield from claims(*(ast.literal_eval(argument) for argument in decorator.args))


def claims(layout: str, arch: str, *variants: str) -> list[Key]:
    """The rows that a mark with these arguments stands for."""
    return [(layout, arch, variant) for variant in variants or ("",)]


def page() -> str:
    """``docs/checkpoints.md``.

    Raises:
        KeyError: A row has no proof, or its program no publisher.
    """
    proved, table = proofs(), rows()
    lines = [
        "# Checkpoints that fcnrt reads",
        "",
        "Each row is a net as one program saves it. Its test writes such a file, loads it with `fcnrt.load`, and",
        "compares the logits with an independent rendering of that program's forward pass, to 1e-5 of the largest.",
        "The container is told by the first bytes of a file; its name and its extension mean nothing, except where a",
        "row says so. Any of the nets may also be in a safetensors file under the same names, or have `module.`,",
        "`_orig_mod.`, `model.` or `net.` before them.",
        "",
        "The program is told by the keys of the file, the net by keys after they have been renamed to fcnrt's, of the",
        "first row that fits. What is left to be said is an option that no tensor tells: it comes from",
        "`fcnrt.load(path, options={...})`, from what the program noted, from the registry of published files, from",
        "the file's name, or is the default given here, with a warning.",
        "",
        "`python -m tests.publishers.catalogue` writes this page from `fcnrt.checkpoints.layouts` and the tests.",
    ]
    for program in dict.fromkeys(row.layout.name for row in table):
        publisher = PUBLISHERS[program]
        home = f"[{publisher.home}](https://github.com/{publisher.home}): " if publisher.home else ""
        lines += ["", f"## {program}", "", f"{home}{publisher.source}.", ""]
        lines += [
            "| net | container | the program by | the net by | left to be said | test |",
            "|---|---|---|---|---|---|",
        ]
        for row in table:
            if row.layout.name == program:
                program_by = ", ".join(_key(key, shape) for key, shape in row.layout.signature.items())
                told = (f"`{row.arch}`", publisher.container, program_by, _net_by(row), _unsaid(row))
                lines.append(f"| {' | '.join((*told, f'`{proved[row.key]}`'))} |")
    return "\n".join(lines) + "\n"


def _net_by(row: Row) -> str:
    """Keys that all of its files have, and those that none has; what is optional is not among them."""
    first, *rest = row.rules
    if all(rule.options == first.options for rule in rest):
        told = " or ".join(", ".join(_key(key, shape) for key, shape in rule.has.items()) for rule in row.rules)
    else:
        has = {key: shape for key, shape in first.has.items() if all(rule.has.get(key) == shape for rule in rest)}
        told = ", ".join(_key(key, shape) for key, shape in has.items())
    lacks = [f"no `{key}`" for key in first.lacks if all(key in rule.lacks for rule in rest)]
    said = []
    if row.arch != first.arch:
        pattern = first.twins[row.arch].replace("|", r"\|")
        said.append(f"what the program noted, a file name with `{pattern}`, or `arch=`")
    return ", ".join(filter(None, [told, *lacks, *said]))


def _key(key: str, shape: Shape) -> str:
    if isinstance(shape, int):
        return f"`{key}`"
    return f"`{key}` [{','.join('·' if extent is None else str(extent) for extent in shape)}]"


def _unsaid(row: Row) -> str:
    """Options that the tensors do not tell, and their defaults."""
    defaults = {unsaid.option: unsaid.default for rule in row.rules for unsaid in (*rule.unsaid, *rule.told)}
    return ", ".join(f"`{option}` ({default})" for option, default in defaults.items())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
