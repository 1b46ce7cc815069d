"""Files that are taken for FCNs and are none."""

from __future__ import annotations

from fcnrt.checkpoints.layout import Layout

_CLASSIFIER = (
    "an ImageNet {} classifier, not an FCN: it names a whole image and has no layer that scores pixels. Give a network "
    "that was trained for segmentation, or make an untrained FCN of this one with fcnrt convolutionalize"
)

REFUSED: tuple[Layout, ...] = (
    Layout(
        "VGG classifier",
        {"features.0.weight": 4, "classifier.0.weight": 2, "classifier.6.weight": 2},
        refusal=_CLASSIFIER.format("VGG"),
    ),
    Layout(
        "AlexNet classifier",
        {"features.0.weight": 4, "classifier.1.weight": 2, "classifier.6.weight": 2},
        refusal=_CLASSIFIER.format("AlexNet"),
    ),
    Layout(
        "GoogLeNet classifier",
        {"conv1.conv.weight": 4, "inception5b.branch1.conv.weight": 4, "fc.weight": 2},
        refusal=_CLASSIFIER.format("GoogLeNet"),
    ),
    Layout(
        "ResNet classifier",
        {"conv1.weight": 4, "layer4.0.conv1.weight": 4, "fc.weight": 2},
        refusal=_CLASSIFIER.format("ResNet"),
    ),
    Layout(
        "Caffe classifier",
        {"fc6/0": 2, "fc8/0": 2},
        refusal="an ImageNet classifier of Caffe, not an FCN: it names a whole image and has no layer that scores "
        "pixels. Give a network that was trained for segmentation",
    ),
    Layout(
        "DeepLabV3",
        {"backbone.conv1.weight": 4, "classifier.0.convs.0.0.weight": 4},
        refusal="DeepLabV3, not an FCN: its head is an atrous spatial pyramid, which fcnrt does not have. Give a "
        "checkpoint of fcn_resnet50 or fcn_resnet101",
    ),
)
