"""FCNs on residual trunks: torchvision's and what clones it, mmseg's, warmspringwinds'."""

from __future__ import annotations

from collections.abc import Mapping

from fcnrt.checkpoints.layout import ArchRule, Layout, Shape, Unsaid

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


def _mmseg(depth: int, aux: bool, deep_stem: bool) -> ArchRule:
    has, lacks = _trunk(depth)
    stem, other = ("backbone.stem.0.weight", "backbone.conv1.weight")[:: 1 if deep_stem else -1]
    key = "auxiliary_head.conv_seg.weight"
    return ArchRule(
        f"mmseg-fcn-resnet{depth}",
        {**has, stem: 4, **({key: 4} if aux else {})},
        (*lacks, other, *(() if aux else (key,))),
        options={"aux": aux, "deep_stem": deep_stem},
        unsaid=_MMSEG_UNSAID,
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
        _mmseg(depth, aux, deep_stem) for depth in _BLOCKS for aux in (True, False) for deep_stem in (True, False)
    ),
    class_keys=("decode_head.conv_seg.weight", "auxiliary_head.conv_seg.weight"),
    width_keys={"backbone.conv1.weight": 64, "backbone.stem.6.weight": 64, "backbone.layer4.0.conv1.weight": 512},
    normalization="mmseg",
)

# warmspringwinds/pytorch-segmentation-detection pytorch_segmentation_detection/models/resnet_dilated.py; depth and
# stride are in the names.
WARMSPRINGWINDS = tuple(
    Layout(
        name="warmspringwinds",
        signature={f"resnet{depth}_{stride}s.conv1.weight": 4, f"resnet{depth}_{stride}s.fc.weight": 4},
        archs=(ArchRule(f"warmspringwinds-fcn-resnet{depth}", options={"output_stride": stride}),),
        class_keys=(f"resnet{depth}_{stride}s.fc.weight",),
        width_keys={
            f"resnet{depth}_{stride}s.conv1.weight": 64,
            f"resnet{depth}_{stride}s.layer4.0.conv1.weight": 512,
        },
        normalization="imagenet",
    )
    for depth in _BLOCKS
    for stride in (8, 16, 32)
)

RESNET_LAYOUTS: tuple[Layout, ...] = (TORCHVISION, MMSEG, *WARMSPRINGWINDS)
