"""The originals: the authors' Caffe models, named in ``caffemodel-url`` of shelhamer/fcn.berkeleyvision.org @1305c73.

The host speaks plain http, has been away for months at a time (BVLC/caffe#6430, #6864), and nobody published the
sizes. One file's sha1 is known, from OpenCV, whose tests used it; nothing can vouch for the others, so they are
taken only when the caller accepts that.
"""

from __future__ import annotations

from dataclasses import dataclass

from fcnrt.palettes import VOC_CLASSES
from fcnrt.preprocessing import PRESETS
from fcnrt.pretrained.entry import Digest, Pretrained, Score

BASE_URL = "http://dl.caffe.berkeleyvision.org/"
REPOSITORY = "shelhamer/fcn.berkeleyvision.org @1305c73"
NOTE = "the host may be gone"

VOC = "caffe-voc"


@dataclass(frozen=True)
class Row:
    """A line of the table below; ``miou`` is on seg11valid."""

    model: str
    file_name: str
    arch: str
    num_classes: int
    trained_on: str
    normalization: str
    miou: float | None = None
    sha1: str | None = None
    note: str = ""


_SBD = "PASCAL VOC 2011 and SBD"
_GEOMETRIC = "a second head has 3 geometric classes"

ROWS = (
    Row("voc-fcn32s", "fcn32s-heavy-pascal.caffemodel", "fcn32s", 21, _SBD, VOC, 63.6),
    Row("voc-fcn16s", "fcn16s-heavy-pascal.caffemodel", "fcn16s", 21, _SBD, VOC, 65.0),
    Row(
        "voc-fcn8s",
        "fcn8s-heavy-pascal.caffemodel",
        "fcn8s",
        21,
        _SBD,
        VOC,
        65.5,
        sha1="c449ea74dd7d83751d1357d6a8c323fcf4038962",
    ),
    Row("voc-fcn8s-atonce", "fcn8s-atonce-pascal.caffemodel", "fcn8s-atonce", 21, _SBD, VOC, 65.4),
    Row("voc-fcn-alexnet", "fcn-alexnet-pascal.caffemodel", "fcn-alexnet", 21, _SBD, VOC, 48.0),
    Row("pascalcontext-fcn32s", "pascalcontext-fcn32s-heavy.caffemodel", "fcn32s", 60, "PASCAL-Context", VOC),
    Row("pascalcontext-fcn16s", "pascalcontext-fcn16s-heavy.caffemodel", "fcn16s", 60, "PASCAL-Context", VOC),
    Row("pascalcontext-fcn8s", "pascalcontext-fcn8s-heavy.caffemodel", "fcn8s", 60, "PASCAL-Context", VOC),
    Row(
        "siftflow-fcn32s",
        "siftflow-fcn32s-heavy.caffemodel",
        "siftflow-fcn32s",
        33,
        "SIFT Flow",
        "siftflow",
        note=_GEOMETRIC,
    ),
    Row(
        "siftflow-fcn16s",
        "siftflow-fcn16s-heavy.caffemodel",
        "siftflow-fcn16s",
        33,
        "SIFT Flow",
        "siftflow",
        note=_GEOMETRIC,
    ),
    Row(
        "siftflow-fcn8s",
        "siftflow-fcn8s-heavy.caffemodel",
        "siftflow-fcn8s",
        33,
        "SIFT Flow",
        "siftflow",
        note=_GEOMETRIC,
    ),
    Row("nyud-fcn32s-color", "nyud-fcn32s-color-heavy.caffemodel", "fcn32s", 40, "NYUDv2 colour", "nyud"),
    Row("nyud-fcn32s-hha", "nyud-fcn32s-hha-heavy.caffemodel", "fcn32s", 40, "NYUDv2 HHA", "nyud-hha"),
    Row(
        "nyud-fcn32s-color-hha",
        "nyud-fcn32s-color-hha-heavy.caffemodel",
        "nyud-fcn32s-color-hha",
        40,
        "NYUDv2 colour and HHA",
        "nyud-color-hha",
        note="two trunks, whose scores are averaged",
    ),
)


def _entry(row: Row) -> Pretrained:
    return Pretrained(
        name=f"caffe-{row.model}",
        url=BASE_URL + row.file_name,
        file_name=row.file_name,
        digest=Digest("sha1", row.sha1) if row.sha1 else None,
        kind="fcn",
        arch=row.arch,
        num_classes=row.num_classes,
        classes=VOC_CLASSES if row.num_classes == len(VOC_CLASSES) else (),
        trained_on=row.trained_on,
        normalization=PRESETS[row.normalization],
        score=Score("mIoU", row.miou, "seg11valid (736 images), native size") if row.miou else None,
        licence="BVLC model licence",
        note="; ".join(filter(None, (row.note, NOTE))),
        sources={
            "url": f"{REPOSITORY}: {row.model}/caffemodel-url",
            "digest": "opencv/opencv_extra: testdata/dnn/download_models.py" if row.sha1 else "none published",
            "size": "none published",
            "normalization": f"{REPOSITORY}: *_layers.py",
            "score": f"{REPOSITORY}: README.md",
            "licence": f"{REPOSITORY}: README.md (unrestricted use)",
        },
    )


FILES = tuple(map(_entry, ROWS))
