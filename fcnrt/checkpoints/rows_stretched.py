"""Programs that stretch the scores of torchvision's classifiers over the image."""

from __future__ import annotations

from dataclasses import replace

from fcnrt.checkpoints.chains import Chain
from fcnrt.checkpoints.layout import ArchRule, Layout, Unsaid
from fcnrt.checkpoints.rows_vgg import FOLDED, TRUNK, WIDTH_KEYS
from fcnrt.models.googlenet_fcn import INCEPTIONS

_RULE = Unsaid(
    "rule",
    default="align_corners",
    why="the original stretches scores so; copies that call F.interpolate have 'half_pixel', and the same tensors",
)

# andrewssobral/deep-learning-pytorch segmentation/networks/FCN32.py, and the tutorials that copied it.
ANDREWSSOBRAL = Layout(
    name="andrewssobral",
    signature={"feats.0.weight": 4, "fconn.0.weight": (None, None, 7, 7), "fconn.3.weight": 4, "score.weight": 4},
    archs=(ArchRule("andrewssobral-fcn32s", unsaid=(_RULE,)),),
    renames=(
        (r"feats\.(.+)", r"trunk.\1"),
        (r"fconn\.0\.(\w+)", r"fc6.\1"),
        (r"fconn\.3\.(\w+)", r"fc7.\1"),
        (r"score\.(\w+)", r"score_fr.\1"),
    ),
    class_keys=("score_fr.weight",),
    width_keys={"trunk.0.weight": 64, "fc6.weight": 4096},
    normalization="imagenet",
)

# Its FCN16.py and FCN8.py, and the same copies.
_POOLED = Unsaid(
    "pooled",
    default=False,
    why="the original loses the pools at which it cuts VGG16; copies that cut behind them have the same tensors",
)
ANDREWSSOBRAL_SKIPS = Layout(
    name="andrewssobral",
    signature={"feats.0.weight": 4, "feat4.0.weight": 4, "fconn.0.weight": (None, None, 7, 7), "score_fconn.weight": 4},
    archs=(
        ArchRule("andrewssobral-fcn8s", {"score_pool3.weight": 4}, unsaid=(_POOLED, _RULE), steps=FOLDED),
        ArchRule("andrewssobral-fcn16s", {"score_pool4.weight": 4}, unsaid=(_POOLED, _RULE), steps=FOLDED),
    ),
    chains=(Chain(("feats", "feat3", "feat4", "feat5"), TRUNK), Chain(("fconn",), ("fc6", "fc7"))),
    renames=((r"score_fconn\.(\w+)", r"score_fr.\1"), (r"score_feat([34])\.(\w+)", r"score_pool\1.\2")),
    class_keys=("score_fr.weight", "score_pool4.weight", "score_pool3.weight"),
    width_keys=WIDTH_KEYS,
    normalization="imagenet",
)

# A course's assignment (AI502), model/FCN_previous.py.
AI502_VGG = Layout(
    name="AI502",
    signature={
        "features.0.weight": (None, None, 3, 3),
        "classifier_fc.0.weight": (None, None, 1, 1),
        "score.weight": 4,
    },
    archs=(ArchRule("ai502-fcn-vgg16"),),
    renames=(
        (r"features\.(.+)", r"trunk.\1"),
        (r"classifier_fc\.0\.(\w+)", r"fc6.\1"),
        (r"classifier_fc\.3\.(\w+)", r"fc7.\1"),
        (r"score\.(\w+)", r"score_fr.\1"),
    ),
    class_keys=("score_fr.weight",),
    width_keys={"trunk.0.weight": 64, "fc6.weight": 4096},
    normalization="imagenet",
)
AI502_ALEXNET = replace(
    AI502_VGG,
    signature={**AI502_VGG.signature, "features.0.weight": (None, None, 11, 11)},
    archs=(ArchRule("ai502-fcn-alexnet"),),
)
_BLOCKS = tuple(
    (rf"inception{stage}\.{index}\.(.+)", rf"{block}.\1")
    for stage in "345"
    for index, block in enumerate(block for block in INCEPTIONS if block.startswith(f"inception{stage}"))
)
AI502_GOOGLENET = Layout(
    name="AI502",
    signature={"entry_block.0.conv.weight": 4, "inception5.1.branch1.conv.weight": 4, "score.weight": 4},
    archs=(ArchRule("ai502-fcn-googlenet"),),
    renames=(
        (r"entry_block\.0\.(.+)", r"conv1.\1"),
        (r"entry_block\.([23])\.(.+)", r"conv\1.\2"),
        *_BLOCKS,
        (r"score\.(\w+)", r"score_fr.\1"),
    ),
    class_keys=("score_fr.weight",),
    width_keys={"conv1.conv.weight": 64, "inception5b.branch1.conv.weight": 384},
    normalization="imagenet",
)

STRETCHED_LAYOUTS: tuple[Layout, ...] = (
    ANDREWSSOBRAL,
    ANDREWSSOBRAL_SKIPS,
    AI502_VGG,
    AI502_ALEXNET,
    AI502_GOOGLENET,
)
