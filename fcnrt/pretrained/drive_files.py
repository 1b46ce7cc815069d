"""Kentaro Wada's conversions of the originals, for PyTorch and Chainer, on Google Drive.

Drive asks a visitor to confirm files of this size on a web page, so people fetch them and fcnrt checks them: the md5
of each is in the source of wkentaro/pytorch-fcn @4b98850 (``torchfcn/models``, which has the links too) and of
wkentaro/fcn @505bc58 (``fcn/models``; the newer links are in its README).
"""

from __future__ import annotations

from dataclasses import dataclass

from fcnrt.palettes import VOC_CLASSES
from fcnrt.preprocessing import PRESETS
from fcnrt.pretrained.entry import Digest, Pretrained, Score

BASE_URL = "https://drive.google.com/uc?id="
PYTORCH_FCN = "wkentaro/pytorch-fcn @4b98850: torchfcn/models"
CHAINER_FCN = "wkentaro/fcn @505bc58: fcn/models"
OLD_LINK = "the link is of 2017, and Drive may ask for access"


@dataclass(frozen=True)
class Row:
    """A line of the table below; ``miou`` is on seg11valid, of the original that was converted."""

    name: str
    file_name: str
    drive_id: str
    md5: str
    arch: str
    miou: float | None
    source: str
    note: str = ""


ROWS = (
    Row(
        "fcn32s-voc",
        "fcn32s_from_caffe.pth",
        "11k2Q0bvRQgQbT6-jYWeh6nmAsWlSCY3f",
        "d3eb467a80e7da0468a20dfcbc13e6c8",
        "fcn32s",
        63.63,
        PYTORCH_FCN,
    ),
    Row(
        "fcn16s-voc",
        "fcn16s_from_caffe.pth",
        "1bctu58B6YH9bu6lBBSBB2rUeGlGhYLoP",
        "a2d4035f669f09483b39c9a14a0d6670",
        "fcn16s",
        65.01,
        PYTORCH_FCN,
    ),
    Row(
        "fcn8s-voc",
        "fcn8s_from_caffe.pth",
        "1ieXWyoG68xqoHJPWdyrDyaIaaWlfmUxI",
        "de93e540ec79512f8770033849c8ae89",
        "fcn8s",
        65.51,
        PYTORCH_FCN,
    ),
    Row(
        "fcn8s-atonce-voc",
        "fcn8s-atonce_from_caffe.pth",
        "0B9P1L--7Wd2vblE1VUIxV1o2d2M",
        "bfed4437e941fef58932891217fe6464",
        "fcn8s-atonce",
        65.40,
        PYTORCH_FCN,
        OLD_LINK,
    ),
    Row(
        "vgg16-caffe",
        "vgg16_from_caffe.pth",
        "1adDBTGY3GcEB_47dvcibajyzi872RAs3",
        "aa75b158f4181e7f6230029eb96c1b13",
        "vgg16",
        None,
        PYTORCH_FCN,
    ),
    Row(
        "chainer-fcn32s-voc",
        "fcn32s_from_caffe.npz",
        "1l5Ubj7zflQAwaNI7G35DzNcMoTf8CDLW",
        "b7f0a2e66229ccdb099c0a60b432e8cf",
        "fcn32s",
        63.6261,
        CHAINER_FCN,
    ),
    Row(
        "chainer-fcn16s-voc",
        "fcn16s_from_caffe.npz",
        "1kwLpLz1jzQqqF5QxQphsO4-aObQIQMWS",
        "7c9b50a1a8c6c20d3855d4823bbea61e",
        "fcn16s",
        65.0050,
        CHAINER_FCN,
    ),
    Row(
        "chainer-fcn8s-voc",
        "fcn8s_from_caffe.npz",
        "1l_5RK28JRL19wpT22B-DY9We3TVXnnQQ",
        "256c2a8235c1c65e62e48d3284fbd384",
        "fcn8s",
        65.5126,
        CHAINER_FCN,
    ),
    Row(
        "chainer-fcn8s-atonce-voc",
        "fcn8s-atonce_from_caffe.npz",
        "1lNHAz5QEo-OoHL8uAUuBPki-8xrEArhs",
        "5f3ffdc7fae1066606e1ef45cfda548f",
        "fcn8s-atonce",
        65.3998,
        CHAINER_FCN,
    ),
)


def _entry(row: Row) -> Pretrained:
    is_fcn = row.miou is not None
    return Pretrained(
        name=row.name,
        url=BASE_URL + row.drive_id,
        file_name=row.file_name,
        digest=Digest("md5", row.md5),
        kind="fcn" if is_fcn else "classifier",
        arch=row.arch,
        num_classes=len(VOC_CLASSES) if is_fcn else 1000,
        classes=VOC_CLASSES if is_fcn else (),
        trained_on="PASCAL VOC 2011 and SBD" if is_fcn else "ImageNet-1K",
        normalization=PRESETS["caffe-voc"],
        score=None if row.miou is None else Score("mIoU", row.miou, "seg11valid (736 images), native size"),
        licence="MIT; BVLC model licence",
        by_hand=True,
        note=row.note,
        sources={
            "url": row.source if row.source == PYTORCH_FCN else f"{row.source.split(':')[0]}: README.md",
            "digest": row.source,
            "size": "none published",
            "score": f"{row.source.split(':')[0]}: README.md",
            "licence": f"{row.source.split(':')[0]}: LICENSE; the models it converted are free for any use",
        },
    )


FILES = tuple(map(_entry, ROWS))
