"""torchvision's files: the two FCN-ResNets, and the classifiers that FCNs are made from.

URLs, sizes in MiB and scores are those of torchvision 0.24.1 (``models/*.py``: ``url``, ``_file_size``,
``_metrics``). The whole sha256 and the size in bytes are not published there; those below are what at least two
independent public manifests report alike. They agree with the digits in the file's name and with the size in MiB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fcnrt.palettes import VOC_CLASSES
from fcnrt.preprocessing import PRESETS
from fcnrt.pretrained.entry import Digest, Pretrained, Score

BASE_URL = "https://download.pytorch.org/models/"
SOURCE = "torchvision 0.24.1, torchvision/models"
MANIFESTS = "public manifests that agree, two or more, and the digits in the file's name"
ROUNDING = 0.001
"""How far the published size in MiB, which has three decimals, may be from the true one."""


@dataclass(frozen=True)
class Row:
    """A line of the tables below: ``mib`` as published, ``size`` None where no manifest states the bytes."""

    name: str
    file_name: str
    sha256: str
    mib: float
    size: int | None
    score: float
    note: str = ""
    normalization: str = "imagenet"


FCNS = (
    Row(
        "fcn_resnet50_coco",
        "fcn_resnet50_coco-1167a1af.pth",
        "1167a1affa42e1e62858f8d3fac12d109e0108327ffc91c5855a324b11683c36",
        135.009,
        141_567_418,
        60.5,
    ),
    Row(
        "fcn_resnet101_coco",
        "fcn_resnet101_coco-7ecb50ca.pth",
        "7ecb50ca17844860a70d5ed0c748d997cf8adb62932abaa0233430c68594d749",
        207.711,
        217_800_805,
        63.7,
    ),
)

CLASSIFIERS = (
    Row(
        "vgg16",
        "vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        527.796,
        553_433_881,
        71.592,
    ),
    Row(
        "vgg16_bn",
        "vgg16_bn-6c64b313.pth",
        "6c64b3138f2f4fcb3bcc4cafde11619c4f440eb1631787e93a682fd88305888a",
        527.866,
        553_507_836,
        73.360,
    ),
    Row(
        "alexnet",
        "alexnet-owt-7be5be79.pth",
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        233.087,
        244_408_911,
        56.522,
    ),
    Row(
        "googlenet",
        "googlenet-1378be20.pth",
        "1378be20a8e875cf1568b8a71654e704449655e34711a959a38b04fb34905cef",
        49.731,
        None,
        69.778,
        note="torchvision's net shifts its input once more, to mean and standard deviation 0.5 (transform_input)",
        normalization="inception",
    ),
    Row(
        "resnet18",
        "resnet18-f37072fd.pth",
        "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
        44.661,
        46_830_571,
        69.758,
    ),
    Row(
        "resnet34",
        "resnet34-b627a593.pth",
        "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f",
        83.275,
        87_319_819,
        73.314,
    ),
    Row(
        "resnet50",
        "resnet50-0676ba61.pth",
        "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
        97.781,
        102_530_333,
        76.130,
        note="IMAGENET1K_V1, the one that torchvision's FCNs start from",
    ),
    Row(
        "resnet50_v2",
        "resnet50-11ad3fa6.pth",
        "11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca",
        97.79,
        102_540_417,
        80.858,
        note="IMAGENET1K_V2",
    ),
    Row(
        "resnet101",
        "resnet101-63fe2227.pth",
        "63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a",
        170.511,
        None,
        77.374,
        note="IMAGENET1K_V1, the one that torchvision's FCNs start from",
    ),
    Row(
        "resnet101_v2",
        "resnet101-cd907fc2.pth",
        "cd907fc2a0de2292b2ba2b27d2216bc672d84632d1cf20058d01c0c03b5e020e",
        170.53,
        None,
        81.886,
        note="IMAGENET1K_V2",
    ),
)


def _fcn(row: Row) -> Pretrained:
    return Pretrained(
        **_common(row),
        kind="fcn",
        arch=row.name.removesuffix("_coco").replace("_", "-"),
        options={"output_stride": 8},
        num_classes=len(VOC_CLASSES),
        classes=VOC_CLASSES,
        trained_on="COCO, VOC's 20 classes",
        score=Score("mIoU", row.score, "COCO val2017, VOC's 20 classes, shorter side 520"),
    )


def _classifier(row: Row) -> Pretrained:
    return Pretrained(
        **_common(row),
        kind="classifier",
        arch=row.name.removesuffix("_v2"),
        num_classes=1000,
        trained_on="ImageNet-1K",
        score=Score("top-1", row.score, "ImageNet-1K val, centre crop"),
    )


def _common(row: Row) -> dict[str, Any]:
    low, high = (round((row.mib + sign * ROUNDING) * 2**20) for sign in (-1, 1))
    return {
        "name": row.name,
        "url": BASE_URL + row.file_name,
        "file_name": row.file_name,
        "digest": Digest("sha256", row.sha256),
        "min_bytes": row.size or low,
        "max_bytes": row.size or high,
        "normalization": PRESETS[row.normalization],
        "licence": "BSD-3-Clause",
        "note": row.note,
        "sources": {
            "url": SOURCE,
            "size": MANIFESTS if row.size else f"{SOURCE}: _file_size, rounded",
            "digest": MANIFESTS,
            "score": SOURCE,
            "licence": "torchvision's LICENSE; by its README a model may have terms of its own, from its training data",
        },
    }


FILES = (*map(_fcn, FCNS), *map(_classifier, CLASSIFIERS))
