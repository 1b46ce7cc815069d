"""Programs whose networks are the authors' FCNs, or decoders of their own, on VGG trunks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fcnrt.checkpoints.chains import Chain
from fcnrt.checkpoints.layout import ArchRule, Layout, Unsaid
from fcnrt.checkpoints.rewriting import AbsorbBias, FoldBatchnorm, Step

TRUNK: tuple[str, ...] = tuple(
    f"conv{block}_{index}" for block, depth in enumerate((2, 2, 3, 3, 3), start=1) for index in range(1, depth + 1)
)
"""VGG16's convolutions by Caffe's names."""

FOLDED: tuple[Step, ...] = (FoldBatchnorm(),)
"""For trunks of vgg16_bn, which people put in VGG16's place."""

HEAD: tuple[str, ...] = ("fc6", "fc7", "score_fr")

AT_ONCE: Mapping[str, str] = {"fcn8s-atonce": r"at[-_ ]?once"}

CLASS_KEYS: tuple[str, ...] = (
    "score_fr.weight",
    "score_pool4.weight",
    "score_pool3.weight",
    "upscore.weight",
    "upscore2.weight",
    "upscore16.weight",
    "upscore_pool4.weight",
    "upscore8.weight",
)
WIDTH_KEYS: Mapping[str, int] = {"conv1_1.weight": 64, "fc6.weight": 4096}

# wkentaro/pytorch-fcn torchfcn/models/fcn{32s,16s,8s}.py, since August 2017.
PYTORCH_FCN = Layout(
    name="pytorch-fcn",
    signature={"fc6.weight": 4, "score_fr.weight": 4},
    archs=(
        ArchRule("fcn8s", {"upscore8.weight": 4}, twins=AT_ONCE),
        ArchRule("fcn8s", {"score_pool3.weight": 4}, twins=AT_ONCE),
        ArchRule("fcn16s", {"upscore16.weight": 4}),
        ArchRule("fcn16s", {"score_pool4.weight": 4}),
        ArchRule("fcn32s"),
    ),
    class_keys=CLASS_KEYS,
    width_keys=WIDTH_KEYS,
    normalization="caffe-voc",
)

# The same before August 2017: FCN-32s alone, its layers in nn.Sequentials that changed twice.
EARLY_PYTORCH_FCN = tuple(
    Layout(
        name="pytorch-fcn (early 2017)",
        signature=signature,
        archs=(ArchRule("fcn32s", {"upscore.weight": 4}, steps=FOLDED),),
        chains=chains,
        renames=((r"upscore\.0\.weight", "upscore.weight"),),
        class_keys=CLASS_KEYS,
        width_keys=WIDTH_KEYS,
        normalization="caffe-voc",
    )
    for signature, chains in (
        (
            {"features.0.weight": 4, "classifier.0.weight": 4, "classifier.6.weight": 4, "upscore.weight": 4},
            (Chain(("features",), TRUNK), Chain(("classifier",), HEAD)),
        ),
        (
            {"features.0.weight": 4, "classifier.0.weight": 4, "classifier.6.weight": 4, "upscore.0.weight": 4},
            (Chain(("features",), TRUNK), Chain(("classifier",), HEAD)),
        ),
        (
            {"features.0.weight": 4, "segmenter.0.weight": 4, "segmenter.7.weight": 4},
            (Chain(("features",), TRUNK), Chain(("segmenter",), (*HEAD, "upscore"))),
        ),
        (
            {"segmenter.0.weight": 4, "segmenter.38.weight": 4},
            (Chain(("segmenter",), (*TRUNK, *HEAD, "upscore")),),
        ),
    )
)

_BIASES: Mapping[str, tuple[Step, ...]] = {
    "fcn32s": (AbsorbBias("upscore"),),
    "fcn16s": (AbsorbBias("upscore2", "score_pool4"), AbsorbBias("upscore16")),
    "fcn8s": (
        AbsorbBias("upscore2", "score_pool4"),
        AbsorbBias("upscore_pool4", "score_pool3"),
        AbsorbBias("upscore8"),
    ),
}

# wkentaro/fcn fcn/models, saved by chainer.serializers.save_npz. Before June 2017 its deconvolutions had biases.
CHAINER = replace(
    PYTORCH_FCN,
    name="chainer fcn",
    signature={"fc6/W": 4, "score_fr/W": 4},
    archs=tuple(replace(rule, steps=_BIASES[rule.arch]) for rule in PYTORCH_FCN.archs),
    renames=((r"(\w+)/W", r"\1.weight"), (r"(\w+)/b", r"\1.bias")),
)

_RULE = Unsaid(
    "rule",
    default="align_corners",
    why="the program stretched scores so until October 2018, and with 'nearest' since; the tensors are the same",
)
# meetps/pytorch-semseg ptsemseg/models/fcn.py. Its loaders differ, and its test.py subtracts before it divides by 255.
PTSEMSEG = Layout(
    name="ptsemseg",
    signature={"conv_block1.0.weight": 4, "conv_block5.0.weight": 4, "classifier.0.weight": 4},
    archs=(
        ArchRule("fcn8s", {"upscore8.weight": 4, "score_pool3.weight": 4}, steps=FOLDED),
        ArchRule("ptsemseg-fcn8s", {"score_pool3.weight": 4}, unsaid=(_RULE,), steps=FOLDED),
        ArchRule("ptsemseg-fcn16s", {"score_pool4.weight": 4}, unsaid=(_RULE,), steps=FOLDED),
        ArchRule("ptsemseg-fcn32s", unsaid=(_RULE,), steps=FOLDED),
    ),
    chains=(
        Chain(tuple(f"conv_block{block}" for block in range(1, 6)), TRUNK),
        Chain(("classifier",), HEAD),
    ),
    renames=((r"upscore4\.weight", "upscore_pool4.weight"),),
    class_keys=CLASS_KEYS,
    width_keys=WIDTH_KEYS,
    normalization="imagenet",
    normalizations={
        r"cityscapes": "ptsemseg-cityscapes",
        r"camvid|ade20k|nyu|sunrgbd": "ptsemseg",
        r"pascal|voc": "imagenet",
    },
    doubt="that is its loader of Pascal VOC; those of other data sets are 'ptsemseg' and 'ptsemseg-cityscapes'",
)

# zijundeng/pytorch-semantic-segmentation models/fcn{8s,16s,32s}.py. Its FCN-16s scales pool4 too; that and FCN-32s
# it only starts from Caffe's VGG16.
ZIJUNDENG = Layout(
    name="zijundeng",
    signature={"features5.0.weight": 4, "score_fr.0.weight": 4, "score_fr.6.weight": 4},
    archs=(
        ArchRule("fcn8s-atonce", {"score_pool3.weight": 4}, steps=FOLDED),
        ArchRule("zijundeng-fcn16s", {"score_pool4.weight": 4}, steps=FOLDED, normalization="caffe-vgg"),
        ArchRule("fcn32s", steps=FOLDED, normalization="caffe-vgg"),
    ),
    chains=(Chain(("features3", "features4", "features5"), TRUNK), Chain(("score_fr",), HEAD)),
    class_keys=CLASS_KEYS,
    width_keys=WIDTH_KEYS,
    normalization="imagenet",
    normalizations={r"caffe": "caffe-vgg"},
    doubt="networks that it trained from Caffe's VGG16 want 'caffe-vgg'",
)

# yassouali/pytorch-segmentation models/fcn.py; each of its data sets has its own mean.
YASSOUALI = Layout(
    name="yassouali",
    signature={"pool3.0.weight": 4, "adj_pool3.weight": 4, "output.0.weight": 4},
    archs=(ArchRule("fcn8s-atonce", steps=FOLDED),),
    chains=(Chain(("pool3", "pool4", "pool5"), TRUNK), Chain(("output",), HEAD)),
    renames=(
        (r"adj_pool([34])\.(\w+)", r"score_pool\1.\2"),
        (r"up_output\.weight", "upscore2.weight"),
        (r"up_pool4_out\.weight", "upscore_pool4.weight"),
        (r"up_final\.weight", "upscore8.weight"),
    ),
    class_keys=CLASS_KEYS,
    width_keys=WIDTH_KEYS,
    normalization="yassouali-voc",
    normalizations={
        r"loader\.type=cityscapes|^[^=]*cityscapes[^=]*$": "yassouali-cityscapes",
        r"loader\.type=ade20k|^[^=]*ade20k[^=]*$": "yassouali-ade20k",
        r"loader\.type=coco|^[^=]*coco[^=]*$": "yassouali-coco",
        r"loader\.type=voc|^[^=]*voc[^=]*$": "yassouali-voc",
    },
    doubt="it has a mean for each data set: 'yassouali-cityscapes', 'yassouali-ade20k' and 'yassouali-coco' are others",
)

# Tramac/awesome-semantic-segmentation-pytorch core/models/fcn.py, and its relatives after GluonCV.
TRAMAC = tuple(
    Layout(
        name="Tramac",
        signature={f"{trunk}.0.weight": 4, "head.block.0.weight": 4, "head.block.4.weight": 4},
        archs=(
            ArchRule("tramac-fcn8s", {"score_pool3.weight": 4}),
            ArchRule("tramac-fcn16s", {"score_pool4.weight": 4}),
            ArchRule("tramac-fcn32s"),
        ),
        renames=((rf"{trunk}\.(.+)", r"pretrained.\1"),),
        dropped={
            r"pool[345]\.\d+\.(weight|bias)": "",  # the trunk again
            r"auxlayer\..+": "an auxiliary head, which only training reads",
        },
        class_keys=("head.block.4.weight", "score_pool4.weight", "score_pool3.weight"),
        width_keys={"pretrained.0.weight": 64, "pretrained.28.weight": 512},
        normalization="imagenet",
    )
    for trunk in ("pretrained", "features")
)

_POCHIH_TRUNKS: Mapping[str, int] = {"vgg19": 34, "vgg16": 28, "vgg13": 22, "vgg11": 18}
"""Trunk -> index of its last convolution. VGG19 has one at 28 too, so it comes first."""

# pochih/FCN-pytorch python/fcn.py, and bat67/pytorch-FCN-easiest-demo after it.
POCHIH = Layout(
    name="pochih",
    signature={"pretrained_net.features.0.weight": 4, "deconv1.weight": 4, "bn1.weight": 1, "classifier.weight": 4},
    archs=tuple(
        ArchRule(
            "pochih-fcns",
            {f"pretrained_net.features.{last}.weight": 4},
            options={"trunk": trunk},
            twins={f"pochih-fcn{stride}s": rf"fcn[-_]?{stride}s" for stride in (32, 16, 8)},
        )
        for trunk, last in _POCHIH_TRUNKS.items()
    ),
    dropped={r"pretrained_net\.classifier\..+": ""},  # VGG's own, which is not run
    class_keys=("classifier.weight",),
    width_keys={"pretrained_net.features.0.weight": 64, "deconv1.bias": 512},
    normalization="pochih",
)

VGG_LAYOUTS: tuple[Layout, ...] = (
    PYTORCH_FCN,
    *EARLY_PYTORCH_FCN,
    CHAINER,
    PTSEMSEG,
    ZIJUNDENG,
    YASSOUALI,
    *TRAMAC,
    POCHIH,
)
