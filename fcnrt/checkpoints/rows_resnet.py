"""FCNs on residual trunks: torchvision's and what clones it, mmseg's, warmspringwinds'."""

from __future__ import annotations

from collections.abc import Mapping

from fcnrt.checkpoints.layout import ArchRule, Layout, Shape, Unsaid
from fcnrt.checkpoints.rewriting import Binarize

_BLOCKS: Mapping[int, tuple[int, bool]] = {18: (2, False), 34: (6, False), 50: (6, True), 101: (23, True)}
"""Depth -> blocks of layer3, and whether they are bottlenecks."""


def _trunk(depth: int) -> tuple[Mapping[str, Shape], tuple[str, ...]]:
    """Keys that a trunk of this depth has, and those that it lacks."""
    blocks, bottleneck = _BLOCKS[depth]
    has: dict[str, Shape] = {f"backbone.layer3.{blocks - 1}.conv2.weight": 4}
    lacks = [f"backbone.layer3.{blocks}.conv2.weight"]
    third = "backbone.layer3.0.conv3.weight"
    if bottleneck:
        has[third] = 4
    else:
        lacks.append(third)
    return has, tuple(lacks)


_DILATED = "the tensors are the same with and without dilation, and this is the publisher's"


def _torchvision(depth: int, aux: bool) -> ArchRule:
    has, lacks = _trunk(depth)
    stride = 8 if depth >= 50 else 32
    key = "aux_classifier.4.weight"
    return ArchRule(
        f"fcn-resnet{depth}",
        {**has, key: 4} if aux else has,
        lacks if aux else (*lacks, key),
        options={"aux": aux},
        unsaid=(Unsaid("output_stride", stride, named={rf"fcn[-_]?resnet[-_]?{depth}": stride}, why=_DILATED),),
    )


# pytorch/vision torchvision/models/segmentation/fcn.py; WZMIAOMIAO's and dusty-nv's copies.
TORCHVISION = Layout(
    name="torchvision",
    signature={"backbone.conv1.weight": 4, "classifier.0.weight": 4, "classifier.4.weight": 4},
    archs=tuple(_torchvision(depth, aux) for depth in _BLOCKS for aux in (True, False)),
    class_keys=("classifier.4.weight", "aux_classifier.4.weight"),
    width_keys={"backbone.conv1.weight": 64, "backbone.layer4.0.conv1.weight": 512},
    normalization="imagenet",
)

_MMSEG_UNSAID = (
    Unsaid(
        "output_stride",
        8,
        noted={
            r"\bstrides\W+1,\s*2,\s*1,\s*1\b": 8,
            r"\bstrides\W+1,\s*2,\s*2,\s*1\b": 16,
            r"\bstrides\W+1,\s*2,\s*2,\s*2\b": 32,
        },
        named={r"-d8(?!\d)": 8, r"-d16(?!\d)": 16, r"-d32(?!\d)": 32},
        why="the tensors are the same with and without dilation, and this is D8",
    ),
    Unsaid(
        "head_dilation",
        1,
        noted={r"\bdilation\W+6\b": 6, r"\bdilation\W+1\b|\bfcnhead\b": 1},
        named={r"fcn_d6": 6, r"fcn_r": 1},
        why="D6's heads have the same tensors",
    ),
    Unsaid(
        "align_corners",
        False,
        noted={r"\balign_corners\W+true\b": True, r"\balign_corners\W+false\b": False},
        named={r"769x769": True, r"\d{3}x\d{3,4}": False},
        why="mmseg's configurations for crops of 769x769 have True",
    ),
)


_SCORES = "decode_head.conv_seg", "auxiliary_head.conv_seg"
_THRESHOLD = Unsaid(
    "threshold",
    0.3,
    noted={r"\bthreshold\W+(0?\.\d{0,6}[1-9]\d{0,6})\b": float},
    why="that is mmseg's own for heads with out_channels=1",
)


def _mmseg(depth: int, aux: bool, deep_stem: bool, binary: bool) -> ArchRule:
    """``binary``: two classes by one score (``mmseg/models/segmentors/base.py``: ``postprocess_result``)."""
    has, lacks = _trunk(depth)
    if binary:
        has = {**has, f"{_SCORES[0]}.weight": (1, None, 1, 1)}
    stem, other = ("backbone.stem.0.weight", "backbone.conv1.weight")[:: 1 if deep_stem else -1]
    key = "auxiliary_head.conv_seg.weight"
    return ArchRule(
        f"mmseg-fcn-resnet{depth}",
        {**has, stem: 4, **({key: 4} if aux else {})},
        (*lacks, other, *(() if aux else (key,))),
        options={"aux": aux, "deep_stem": deep_stem},
        unsaid=_MMSEG_UNSAID,
        steps=(Binarize(_SCORES, _THRESHOLD.default),) if binary else (),
        told=(_THRESHOLD,) if binary else (),
    )


# open-mmlab/mmsegmentation mmseg/models/decode_heads/fcn_head.py with mmseg/models/backbones/resnet.py.
MMSEG = Layout(
    name="mmseg",
    signature={
        "decode_head.conv_seg.weight": 4,
        "decode_head.convs.0.conv.weight": 4,
        "decode_head.conv_cat.conv.weight": 4,
        "backbone.layer4.0.conv1.weight": 4,
    },
    archs=tuple(
        _mmseg(depth, aux, deep_stem, binary)
        for binary in (True, False)
        for depth in _BLOCKS
        for aux in (True, False)
        for deep_stem in (True, False)
    ),
    class_keys=("decode_head.conv_seg.weight", "auxiliary_head.conv_seg.weight"),
    width_keys={"backbone.conv1.weight": 64, "backbone.stem.6.weight": 64, "backbone.layer4.0.conv1.weight": 512},
    normalization="mmseg",
)

_FORK: Mapping[tuple[int, int], ArchRule] = {
    (18, 8): ArchRule(
        "warmspringwinds-fcn-resnet18",
        options={"output_stride": 8},
        twins={"warmspringwinds-fcn-resnet9": r"resnet[-_]?9(?!\d)"},
    ),
    (50, 8): ArchRule(
        "warmspringwinds-fcn-resnet50",
        unsaid=(
            Unsaid(
                "output_stride",
                8,
                named={r"resnet[-_]?50[-_]?16s": 16, r"resnet[-_]?50[-_]?8s": 8},
                why="the program keeps its Resnet50_16s under the name resnet50_8s too",
            ),
        ),
    ),
}
"""Depth and stride of a trunk's name -> what it can mean, where that is more than it says."""


def _fork(depth: int, stride: int, signature: tuple[str, ...], rule: ArchRule, class_keys: tuple[str, ...]) -> Layout:
    name = f"resnet{depth}_{stride}s"
    return Layout(
        name="warmspringwinds",
        signature={f"{name}.conv1.weight": 4, **dict.fromkeys(signature, 4)},
        archs=(rule,),
        renames=((rf"{name}\.fc\.(\w+)", r"fc.\1"), (rf"{name}\.(.+)", r"backbone.\1")),
        class_keys=class_keys,
        width_keys={"backbone.conv1.weight": 64, "backbone.layer4.0.conv1.weight": 512},
        normalization="imagenet",
    )


# warmspringwinds/pytorch-segmentation-detection pytorch_segmentation_detection/models/resnet_dilated.py, with depth and
# stride in the names; and resnet_fcn.py beside it.
WARMSPRINGWINDS = (
    *(
        _fork(
            depth,
            stride,
            (f"resnet{depth}_{stride}s.fc.weight",),
            _FORK.get(
                (depth, stride), ArchRule(f"warmspringwinds-fcn-resnet{depth}", options={"output_stride": stride})
            ),
            ("fc.weight",),
        )
        for depth in _BLOCKS
        for stride in (8, 16, 32)
    ),
    *(
        _fork(depth, 32, scores, ArchRule(f"warmspringwinds-fcn8s-resnet{depth}"), scores)
        for depth in (18, 34, 50)
        for scores in [("score_32s.weight", "score_16s.weight", "score_8s.weight")]
    ),
)

RESNET_LAYOUTS: tuple[Layout, ...] = (TORCHVISION, MMSEG, *WARMSPRINGWINDS)
