"""OpenMMLab's FCN-ResNets: ``configs/fcn/metafile.yaml`` of mmsegmentation 1.2.2, its names, URLs and scores.

The first eight digits of a file's sha256 end its name (``tools/misc/publish_model.py``); the sizes were never
published. What the tensors cannot say, dilation and ``align_corners``, the file's own ``meta`` does, and its class
names too.
"""

from __future__ import annotations

import re

from fcnrt.palettes import VOC_CLASSES
from fcnrt.preprocessing import PRESETS
from fcnrt.pretrained.entry import Digest, Pretrained, Score

BASE_URL = "https://download.openmmlab.com/mmsegmentation/v0.5/fcn/"
SOURCE = "mmsegmentation 1.2.2: configs/fcn/metafile.yaml"

CITYSCAPES_CLASSES = (
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
)

# By how a name ends: what it was trained on, the number of classes, and those that this package lists.
DATA_SETS: dict[str, tuple[str, int, tuple[str, ...]]] = {
    "cityscapes": ("Cityscapes", 19, CITYSCAPES_CLASSES),
    "ade20k": ("ADE20K", 150, ()),
    "voc12aug": ("PASCAL VOC 2012 and SBD", 21, VOC_CLASSES),
    "pascal_context": ("PASCAL-Context", 60, ()),
    "pascal_context_59": ("PASCAL-Context without background", 59, ()),
}

# Name of the net, its crop, schedule and data; when it was trained and how its sha256 begins; mIoU at one scale.
ROWS = (
    ("fcn_r50-d8_512x1024_40k_cityscapes", "20200604_192608-efe53f0d", 72.25),
    ("fcn_r101-d8_512x1024_40k_cityscapes", "20200604_181852-a883d3a1", 75.45),
    ("fcn_r50-d8_769x769_40k_cityscapes", "20200606_113104-977b5d02", 71.47),
    ("fcn_r101-d8_769x769_40k_cityscapes", "20200606_113208-7d4ab69c", 73.93),
    ("fcn_r18-d8_512x1024_80k_cityscapes", "20201225_021327-6c50f8b4", 71.11),
    ("fcn_r50-d8_512x1024_80k_cityscapes", "20200606_113019-03aa804d", 73.61),
    ("fcn_r101-d8_512x1024_80k_cityscapes", "20200606_113038-3fb937eb", 75.13),
    ("fcn_r101-d8_fp16_512x1024_80k_cityscapes", "20200717_230921-fb13e883", 76.8),
    ("fcn_r18-d8_769x769_80k_cityscapes", "20201225_021451-9739d1b8", 70.8),
    ("fcn_r50-d8_769x769_80k_cityscapes", "20200606_195749-f5caeabc", 72.64),
    ("fcn_r101-d8_769x769_80k_cityscapes", "20200606_214354-45cbac68", 75.52),
    ("fcn_r18b-d8_512x1024_80k_cityscapes", "20201225_230143-92c0f445", 70.24),
    ("fcn_r50b-d8_512x1024_80k_cityscapes", "20201225_094221-82957416", 75.65),
    ("fcn_r101b-d8_512x1024_80k_cityscapes", "20201226_160213-4543858f", 77.37),
    ("fcn_r18b-d8_769x769_80k_cityscapes", "20201226_004430-32d504e5", 69.66),
    ("fcn_r50b-d8_769x769_80k_cityscapes", "20201225_094223-94552d38", 73.83),
    ("fcn_r101b-d8_769x769_80k_cityscapes", "20201226_170012-82be37e2", 77.02),
    ("fcn_d6_r50-d16_512x1024_40k_cityscapes", "20210305_130133-98d5d1bc", 77.06),
    ("fcn_d6_r50-d16_512x1024_80k_cityscapes", "20210306_115604-133c292f", 77.27),
    ("fcn_d6_r50-d16_769x769_40k_cityscapes", "20210305_185744-1aab18ed", 76.82),
    ("fcn_d6_r50-d16_769x769_80k_cityscapes", "20210305_200413-109d88eb", 77.04),
    ("fcn_d6_r101-d16_512x1024_40k_cityscapes", "20210305_130337-9cf2b450", 77.36),
    ("fcn_d6_r101-d16_512x1024_80k_cityscapes", "20210308_102747-cb336445", 78.46),
    ("fcn_d6_r101-d16_769x769_40k_cityscapes", "20210308_102453-60b114e9", 77.28),
    ("fcn_d6_r101-d16_769x769_80k_cityscapes", "20210306_120016-e33adc4f", 78.06),
    ("fcn_d6_r50b-d16_512x1024_80k_cityscapes", "20210311_125550-6a0b62e9", 76.99),
    ("fcn_d6_r50b-d16_769x769_80k_cityscapes", "20210311_131012-d665f231", 76.86),
    ("fcn_d6_r101b-d16_512x1024_80k_cityscapes", "20210311_144305-3f2eb5b4", 77.72),
    ("fcn_d6_r101b-d16_769x769_80k_cityscapes", "20210311_154527-c4d8bfbc", 77.34),
    ("fcn_r50-d8_512x512_80k_ade20k", "20200614_144016-f8ac5082", 35.94),
    ("fcn_r101-d8_512x512_80k_ade20k", "20200615_014143-bc1809f7", 39.61),
    ("fcn_r50-d8_512x512_160k_ade20k", "20200615_100713-4edbc3b4", 36.1),
    ("fcn_r101-d8_512x512_160k_ade20k", "20200615_105816-fd192bd5", 39.91),
    ("fcn_r50-d8_512x512_20k_voc12aug", "20200617_010715-52dc5306", 67.08),
    ("fcn_r101-d8_512x512_20k_voc12aug", "20200617_010842-0bb4e798", 71.16),
    ("fcn_r50-d8_512x512_40k_voc12aug", "20200613_161222-5e2dbf40", 66.97),
    ("fcn_r101-d8_512x512_40k_voc12aug", "20200613_161240-4c8bcefd", 69.91),
    ("fcn_r101-d8_480x480_40k_pascal_context", "20210421_154757-b5e97937", 44.43),
    ("fcn_r101-d8_480x480_80k_pascal_context", "20210421_163310-4711813f", 44.13),
    ("fcn_r101-d8_480x480_40k_pascal_context_59", "20210415_230724-8cf83682", 48.42),
    ("fcn_r101-d8_480x480_80k_pascal_context_59", "20210416_110804-9a6f2c94", 49.35),
)

_NAME = re.compile(
    r"fcn_(?P<d6>d6_)?r(?P<depth>\d+)b?-d(?P<stride>\d+)(?:_fp16)?_(?P<crop>\d+x\d+)_(?P<steps>\d+k)_(?P<data>\w+)"
)


def _entry(name: str, stamp: str, miou: float) -> Pretrained:
    parts = _NAME.fullmatch(name)
    assert parts is not None, name
    trained_on, num_classes, classes = DATA_SETS[parts["data"]]
    file_name = f"{name}_{stamp}.pth"
    return Pretrained(
        name=name,
        url=f"{BASE_URL}{name}/{file_name}",
        file_name=file_name,
        digest=Digest("sha256", stamp.rpartition("-")[2]),
        kind="fcn",
        arch=f"mmseg-fcn-resnet{parts['depth']}",
        num_classes=num_classes,
        classes=classes,
        trained_on=trained_on,
        normalization=PRESETS["mmseg"],
        options={
            "output_stride": int(parts["stride"]),
            "head_dilation": 6 if parts["d6"] else 1,
            "align_corners": parts["crop"] == "769x769",
        },
        score=Score("mIoU", miou, f"{trained_on} val, one scale; trained on {parts['crop']}, {parts['steps']} steps"),
        licence="Apache-2.0",
        sources={
            "url": SOURCE,
            "size": "none published",
            "digest": "the file's name, by mmsegmentation's tools/misc/publish_model.py",
            "score": SOURCE,
            "licence": SOURCE,
        },
    )


FILES = tuple(_entry(*row) for row in ROWS)
