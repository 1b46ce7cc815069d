"""The authors' own networks, by Caffe's names: from a ``.caffemodel``, or from a conversion that kept the names.

Source: shelhamer/fcn.berkeleyvision.org. FCN-AlexNet also as NVIDIA/DIGITS has it
(``examples/semantic-segmentation/fcn_alexnet.prototxt``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fcnrt.checkpoints.class_names import NYUD, PASCAL_CONTEXT, SIFT_FLOW, SIFT_FLOW_GEOMETRY
from fcnrt.checkpoints.layout import ArchRule, Layout
from fcnrt.checkpoints.rewriting import AbsorbScale, ExpandGroups, Step
from fcnrt.checkpoints.rows_vgg import CLASS_KEYS, WIDTH_KEYS

# DIGITS renames score layers by class count, so that Caffe does not copy them: upscore_21classes.
_RECOUNTED = (r"(\w+)_\d+classes\.(\w+)", r"\1.\2")

_NORMALIZATIONS: Mapping[str, str] = {
    r"nyud.*hha": "nyud-hha",
    r"nyud": "nyud",
    r"sift-?flow": "siftflow",
}

_CLASS_NAMES: Mapping[int, tuple[str, ...]] = {40: NYUD, 60: PASCAL_CONTEXT}

_SCALES: tuple[Step, ...] = (
    AbsorbScale("scale_pool4", "score_pool4", 0.01),
    AbsorbScale("scale_pool3", "score_pool3", 0.0001),
)

# siftflow-fcn{32s,16s,8s}
SIFT = Layout(
    name="Caffe names",
    signature={"conv1_1.weight": 4, "score_fr_sem.weight": 4, "score_fr_geo.weight": 4},
    archs=tuple(
        ArchRule(
            arch,
            {f"{last}_sem.weight": 4},
            counts={"geometric_classes": tuple(key.replace(".", "_geo.") for key in CLASS_KEYS)},
        )
        for arch, last in (
            ("siftflow-fcn8s", "upscore8"),
            ("siftflow-fcn16s", "upscore16"),
            ("siftflow-fcn32s", "upscore"),
        )
    ),
    class_keys=tuple(key.replace(".", "_sem.") for key in CLASS_KEYS),
    width_keys=WIDTH_KEYS,
    normalization="siftflow",
    class_names={33: SIFT_FLOW, 3: SIFT_FLOW_GEOMETRY},
)

# nyud-fcn32s-color-d
EARLY_FUSION = Layout(
    name="Caffe names",
    signature={"conv1_1_bgrd.weight": (None, 4, 3, 3), "score_fr.weight": 4},
    archs=(ArchRule("nyud-fcn32s-color-d"),),
    class_keys=CLASS_KEYS,
    width_keys={"conv1_1_bgrd.weight": 64, "fc6.weight": 4096},
    normalization="nyud-color-d",
    class_names=_CLASS_NAMES,
)

# nyud-fcn32s-color-hha
LATE_FUSION = Layout(
    name="Caffe names",
    signature={"conv1_1color.weight": 4, "score_frcolor.weight": 4, "score_frhha.weight": 4},
    archs=(ArchRule("nyud-fcn32s-color-hha"),),
    class_keys=("score_frcolor.weight", "score_frhha.weight", "upscore.weight"),
    width_keys={"conv1_1color.weight": 64, "fc6color.weight": 4096},
    normalization="nyud-color-hha",
    class_names=_CLASS_NAMES,
)

# voc-fcn-alexnet; DIGITS' has one group per class in its transposed convolution, and subtracts 116.
ALEXNET = Layout(
    name="Caffe names",
    signature={"conv1.weight": 4, "conv5.weight": 4, "fc6.weight": 4, "fc7.weight": 4},
    archs=(
        ArchRule("fcn-alexnet", {"upscore.weight": (1, 1, 63, 63)}),
        ArchRule(
            "fcn-alexnet",
            {"upscore.weight": (None, 1, 63, 63)},
            steps=(ExpandGroups("upscore"),),
            normalization="digits",
        ),
        ArchRule("fcn-alexnet", {"conv2.weight": (None, None, 5, 5), "score_fr.weight": 4, "upscore.weight": 4}),
    ),
    renames=(_RECOUNTED,),
    class_keys=("score_fr.weight", "upscore.weight"),
    width_keys={"conv1.weight": 96, "fc6.weight": 4096},
    normalization="caffe-voc",
    class_names=_CLASS_NAMES,
)

# voc-fcn8s-atonce has Scale layers, so a .caffemodel without them is staged.
VGG = Layout(
    name="Caffe names",
    signature={"conv1_1.weight": 4, "fc6.weight": 4, "fc7.weight": 4},
    archs=(
        ArchRule("fcn8s-atonce", {"scale_pool4.weight": 1, "scale_pool3.weight": 1}, steps=_SCALES),
        ArchRule("fcn8s", {"score_pool3.weight": 4, "score_fr.weight": 4}),
        ArchRule("fcn16s", {"score_pool4.weight": 4, "score_fr.weight": 4}),
        ArchRule("fcn32s", {"score_fr.weight": 4}),
    ),
    renames=(_RECOUNTED,),
    class_keys=CLASS_KEYS,
    width_keys=WIDTH_KEYS,
    normalization="caffe-voc",
    normalizations=_NORMALIZATIONS,
    class_names=_CLASS_NAMES,
)

# The same by .weight, as a conversion keeps it.
SCALED = replace(
    VGG,
    signature={"fc6.weight": 4, "score_fr.weight": 4, "scale_pool4.weight": 1, "scale_pool3.weight": 1},
    archs=VGG.archs[:1],
)


def blobs(layout: Layout) -> Layout:
    """The layout as a ``.caffemodel`` has it: blobs by number."""
    return replace(
        layout,
        name="Caffe",
        signature={key.replace(".weight", "/0"): shape for key, shape in layout.signature.items()},
        renames=((r"(.+)/0", r"\1.weight"), (r"(.+)/1", r"\1.bias"), *layout.renames),
    )


_NAMED = (SIFT, EARLY_FUSION, LATE_FUSION, SCALED, ALEXNET)

CAFFE_LAYOUTS: tuple[Layout, ...] = (*map(blobs, (*_NAMED, VGG)), *_NAMED)
