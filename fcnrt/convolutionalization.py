"""A classifier in, a Segmenter out: the paper's section 3.1 as one call."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from fcnrt.checkpoints import read_state_dict
from fcnrt.checkpoints.classifiers import convolutionalized
from fcnrt.engine import choose_engine, choose_placement
from fcnrt.errors import InputError
from fcnrt.loading import locate, published
from fcnrt.palettes import VOC_CLASSES, voc_palette
from fcnrt.preprocessing import Normalization, get_normalization
from fcnrt.segmenter import Segmenter
from fcnrt.spec import ModelSpec

ARGUMENT, SHAPES, REGISTRY, DEFAULT = "argument", "tensor shapes", "registry", "default"


def convolutionalize(
    classifier: str | os.PathLike[str] | Mapping[str, Tensor],
    arch: str,
    num_classes: int,
    *,
    keep_scores: bool = False,
    pad: int | None = None,
    classes: Sequence[str] | None = None,
    normalization: str | Normalization | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    engine: str = "auto",
) -> Segmenter:
    """An ImageNet classifier as a fully convolutional net, ready to be trained on pixels, or to be looked at.

    Fully connected layers become convolutions by a view, so nothing is lost: with ``keep_scores`` and the classifier's
    own ``pad``, the coarsest scores at its own input size are its logits (VGG16, AlexNet), or their spatial mean is
    (GoogLeNet, ResNet).

    Args:
        classifier: a state dict, a file of one, or the name of a published one (``fcnrt pull --list``): VGG16,
            VGG16-bn, AlexNet, GoogLeNet or ResNet under torchvision's keys.
        arch: an architecture on that trunk: ``"fcn8s"``, ``"fcn-alexnet-torchvision"``, ``"fcn-googlenet"``,
            ``"fcn8s-resnet50"``, …
        num_classes: what each position is scored for, background included.
        keep_scores: the coarsest score layer takes the classifier's own first ``num_classes`` rows. Otherwise scores
            start at zero, and upsampling starts bilinear.
        pad: zeros around the image; None for the architecture's own. The classifier's own are 1 (VGG16), 2 (AlexNet)
            and 3 (GoogLeNet).
        classes: a name for each class.
        normalization: what the weights want; None for what the registry of published ones says, or else torchvision's.
        device, dtype, engine: as for ``fcnrt.load``.

    Raises:
        CheckpointError: it is no classifier that fcnrt knows, or not one with ``arch``'s trunk.
        DeviceError: the device does not exist here.
        DownloadError: a published file could not be fetched.
        InputError: an argument has a value that does not exist, or there are no scores to keep.
    """
    placement, chosen = choose_placement(device, dtype), choose_engine(engine)
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
        raise InputError(f"num_classes is {num_classes!r}; expected a whole number of at least 1")
    registry = None if isinstance(classifier, Mapping) else published(classifier)
    tensors = classifier if isinstance(classifier, Mapping) else read_state_dict(locate(classifier))
    family, options, state = convolutionalized(tensors, arch, num_classes, keep_scores=keep_scores, pad=pad)
    if classes is not None:
        names, source = tuple(classes), ARGUMENT
    elif num_classes == len(VOC_CLASSES) and not keep_scores:
        names, source = VOC_CLASSES, DEFAULT
    else:
        names, source = tuple(f"class {index}" for index in range(num_classes)), DEFAULT
    convention: str | Normalization = family.normalization
    told_by = DEFAULT
    if normalization is not None:
        convention, told_by = normalization, ARGUMENT
    elif registry is not None and registry.normalization is not None:
        convention, told_by = registry.normalization, REGISTRY
    spec = ModelSpec(
        arch=arch,
        num_classes=num_classes,
        classes=names,
        palette=voc_palette(num_classes),
        normalization=get_normalization(convention),
        options=options,
        sources={
            "arch": ARGUMENT,
            "num_classes": ARGUMENT,
            "classes": source,
            "palette": DEFAULT,
            "normalization": told_by,
            "options": SHAPES if pad is None else ARGUMENT,
        },
    )
    return Segmenter(spec, state, placement, chosen)
