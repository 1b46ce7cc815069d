"""ImageNet classifiers, made fully convolutional: their fully connected layers become convolutions.

Long, Shelhamer, Darrell, section 3.1 and figure 2. A fully connected layer on a ``C x 7 x 7`` map is a 7x7 convolution
with the same weights in another shape; one on a single position is a 1x1 convolution. Nothing is computed, only viewed
differently, so where the net sees what the classifier saw it says what the classifier said. Sources:
``copy_params_from_vgg16`` of wkentaro/pytorch-fcn, ``surgery.transplant`` of shelhamer/fcn.berkeleyvision.org.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fcnrt.checkpoints.wording import few, quote
from fcnrt.errors import CheckpointError, InputError
from fcnrt.models import FCN, VGGFCN, create_model
from fcnrt.models.alexnet_fcn import AlexNetFCN
from fcnrt.models.decoder import Deconvolution
from fcnrt.models.googlenet_fcn import GoogLeNetFCN
from fcnrt.models.resnet_fcn import SkipResNetFCN, TorchvisionFCN
from fcnrt.models.upsampling import bilinear_weight
from fcnrt.models.vgg import DEPTHS

COUNTER = ".num_batches_tracked"
"""Of training steps, which batch normalization keeps and inference has no use for."""

BATCHNORM_EPS = 1e-5
"""torch's default, which torchvision's VGGs have."""


@dataclass(frozen=True)
class Classifier:
    """One family of torchvision's classifiers.

    Args:
        name: what messages call it.
        signature: keys that all must be there -> number of dimensions.
        nets: the FCNs that have its trunk.
        scores: its last layer, which tells classes of images.
        width_key: a tensor whose first extent tells the width multiplier,
        full_width: and that extent at width 1.
        modules: the FCN's modules -> the classifier's; those that ``prefix`` covers need no entry.
        prefix: of the FCN's modules that otherwise have the classifier's names; None if there are none such.
        dropped: what the classifier's keys begin with that an FCN has no use for.
        folded: the FCN's convolutions -> batch normalizations that they take in.
        normalization: what the published weights want.
    """

    name: str
    signature: Mapping[str, int]
    nets: tuple[type[FCN], ...]
    scores: str
    width_key: str
    full_width: int
    modules: Mapping[str, str] = field(default_factory=dict)
    prefix: str | None = None
    dropped: tuple[str, ...] = ()
    folded: Mapping[str, str] = field(default_factory=dict)
    normalization: str = "imagenet"

    def source(self, key: str) -> str | None:
        """The classifier's tensor for the FCN's ``key``; None if the classifier has nothing of the kind."""
        module, _, leaf = key.rpartition(".")
        if module in self.modules:
            return f"{self.modules[module]}.{leaf}"
        if self.prefix is not None and key.startswith(self.prefix):
            return key.removeprefix(self.prefix)
        return None


def _vgg16(*, batchnorm: bool) -> Classifier:
    """VGG16's rows: torchvision numbers the layers of ``features``, pools and activations included."""
    modules, folded = {"fc6": "classifier.0", "fc7": "classifier.3"}, {}
    index = 0
    for block, depth in enumerate(DEPTHS["vgg16"], start=1):
        for convolution in range(1, depth + 1):
            name = f"conv{block}_{convolution}"
            modules[name] = f"features.{index}"
            if batchnorm:
                folded[name] = f"features.{index + 1}"
            index += 3 if batchnorm else 2
        index += 1
    linear = {"classifier.0.weight": 2, "classifier.3.weight": 2, "classifier.6.weight": 2}
    return Classifier(
        name="VGG16-bn" if batchnorm else "VGG16",
        signature=linear
        | ({"features.40.weight": 4, "features.1.running_mean": 1} if batchnorm else {"features.28.weight": 4}),
        nets=(VGGFCN,),
        scores="classifier.6",
        width_key="features.0.weight",
        full_width=64,
        modules=modules,
        folded=folded,
    )


CLASSIFIERS: tuple[Classifier, ...] = (
    _vgg16(batchnorm=True),
    _vgg16(batchnorm=False),
    Classifier(
        name="AlexNet",
        signature={"features.10.weight": 4, "classifier.1.weight": 2, "classifier.4.weight": 2},
        nets=(AlexNetFCN,),
        scores="classifier.6",
        width_key="features.0.weight",
        full_width=64,
        modules={
            "conv1": "features.0",
            "conv2": "features.3",
            "conv3": "features.6",
            "conv4": "features.8",
            "conv5": "features.10",
            "fc6": "classifier.1",
            "fc7": "classifier.4",
        },
    ),
    Classifier(
        name="GoogLeNet",
        signature={"inception5b.branch4.1.conv.weight": 4, "fc.weight": 2},
        nets=(GoogLeNetFCN,),
        scores="fc",
        width_key="conv1.conv.weight",
        full_width=64,
        prefix="",
        dropped=("aux1.", "aux2."),
        normalization="inception",
    ),
    Classifier(
        name="ResNet",
        signature={"conv1.weight": 4, "layer4.0.conv1.weight": 4, "fc.weight": 2},
        nets=(SkipResNetFCN, TorchvisionFCN),
        scores="fc",
        width_key="conv1.weight",
        full_width=64,
        prefix="backbone.",
    ),
)


def find_classifier(tensors: Mapping[str, Tensor]) -> Classifier:
    """The family that the tensors' names and dimensions fit.

    Raises:
        CheckpointError: none does.
    """
    for classifier in CLASSIFIERS:
        if all(key in tensors and tensors[key].ndim == ndim for key, ndim in classifier.signature.items()):
            return classifier
    raise CheckpointError(
        f"its {len(tensors)} tensors ({few(tensors)}) are no classifier that can become an FCN; expected one of "
        f"torchvision's: {', '.join(classifier.name for classifier in CLASSIFIERS)}"
    )


def convolutionalized(
    tensors: Mapping[str, Tensor],
    arch: str,
    num_classes: int,
    *,
    keep_scores: bool = False,
    pad: int | None = None,
) -> tuple[Classifier, dict[str, float | int], dict[str, Tensor]]:
    """The state dict of the FCN ``arch`` with the weights of a classifier.

    Args:
        tensors: the classifier's state dict.
        arch: an architecture on the classifier's trunk.
        num_classes: what each position is scored for, background included.
        keep_scores: the coarsest score layer takes the classifier's own first ``num_classes`` rows; otherwise, and in
            the other score layers, scores start at zero. Upsampling starts bilinear.
        pad: zeros around the image instead of the architecture's own.

    Returns:
        The classifier's family, the architecture's options, and the state dict in float32.

    Raises:
        CheckpointError: these are no classifier's tensors, or not those of ``arch``'s trunk.
        InputError: there is no such architecture, it has no padding to choose, or no scores can be kept.
    """
    classifier = find_classifier(tensors)
    options: dict[str, float | int] = {"width": tensors[classifier.width_key].shape[0] / classifier.full_width}
    if pad is not None:
        options["padding"] = pad
    with torch.device("meta"):
        net = create_model(arch, num_classes, **options)
    if not isinstance(net, classifier.nets):
        raise CheckpointError(f"it is {classifier.name}, which is not the trunk of {arch}; choose another arch")
    zeros, bilinear = _decoder_layers(net)
    folded = _fold(classifier, tensors)
    state: dict[str, Tensor] = {}
    used: set[str] = set()
    for key, expected in net.state_dict().items():
        source = classifier.source(key)
        if source is None or key.rpartition(".")[0] in zeros | bilinear:
            continue
        if key.endswith(COUNTER):
            state[key] = torch.zeros((), dtype=torch.int64)
            continue
        if source not in folded:
            raise CheckpointError(f"{quote(source)} is missing; expected it for {quote(key)} of {arch}")
        tensor = folded[source]
        if tensor.numel() != expected.numel() or tensor.shape[:1] != expected.shape[:1]:
            raise CheckpointError(
                f"{quote(source)} has shape {tuple(tensor.shape)}; expected one that becomes {tuple(expected.shape)} "
                f"for {quote(key)} of {arch}"
            )
        state[key] = tensor.reshape(expected.shape)
        used.add(source)
    useless = (f"{classifier.scores}.", *classifier.dropped)
    unused = [key for key in folded if key not in used and not key.startswith(useless) and not key.endswith(COUNTER)]
    if unused:
        raise CheckpointError(f"{len(unused)} of its tensors have no place in {arch}: {few(unused)}")
    state |= _fresh(net, set(net.state_dict()) - set(state))
    if keep_scores:
        state |= _kept_scores(classifier, tensors, net, num_classes)
    return classifier, options, state


def _fold(classifier: Classifier, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with ``classifier.folded`` carried out, in float64."""
    result = {key: tensor.detach() for key, tensor in tensors.items()}
    for convolution, norm in classifier.folded.items():
        source = classifier.modules[convolution]
        parts = {leaf: result.pop(f"{norm}.{leaf}", None) for leaf in ("weight", "bias", "running_mean", "running_var")}
        missing = [f"{norm}.{leaf}" for leaf, tensor in parts.items() if tensor is None]
        if missing:
            raise CheckpointError(f"{few(missing)} missing; expected them beside {quote(source)}")
        gamma, beta, mean, variance = (tensor.double() for tensor in parts.values() if tensor is not None)
        gain = gamma / (variance + BATCHNORM_EPS).sqrt()
        weight, bias = result[f"{source}.weight"], result[f"{source}.bias"]
        result[f"{source}.weight"] = (weight.double() * gain[:, None, None, None]).to(weight.dtype)
        result[f"{source}.bias"] = ((bias.double() - mean) * gain + beta).to(bias.dtype)
    return result


def _decoder_layers(net: FCN) -> tuple[set[str], set[str]]:
    """The score layers, and the transposed convolutions."""
    decoders = net.heads.values()
    scores = {score.layer for decoder in decoders for score in decoder.scores}
    scores |= {stage.skip.layer for decoder in decoders for stage in decoder.stages}
    ups = {up.name for decoder in decoders for up in decoder.upsamplings if isinstance(up, Deconvolution)}
    return scores, ups


def _fresh(net: FCN, keys: set[str]) -> dict[str, Tensor]:
    """Initial values for what a classifier does not have: zero scores, bilinear upsampling, torch's own elsewhere."""
    zeros, bilinear = _decoder_layers(net)
    state: dict[str, Tensor] = {}
    for name in sorted({key.rpartition(".")[0] for key in keys}):
        module: nn.Module = net.get_submodule(name).to_empty(device="cpu")
        if name in bilinear:
            weight = net.get_parameter(f"{name}.weight")
            state[f"{name}.weight"] = bilinear_weight(weight.shape[0], weight.shape[-1])
        elif name in zeros:
            state |= {f"{name}.{leaf}": torch.zeros_like(value) for leaf, value in module.state_dict().items()}
        else:
            module.reset_parameters()  # type: ignore[operator]  # convolutions and normalizations have it
            state |= {f"{name}.{leaf}": value for leaf, value in module.state_dict().items()}
    return state


def _kept_scores(
    classifier: Classifier, tensors: Mapping[str, Tensor], net: FCN, num_classes: int
) -> dict[str, Tensor]:
    """The classifier's own rows for the coarsest score layer, as a 1x1 convolution."""
    weight = tensors[f"{classifier.scores}.weight"].detach()
    bias = tensors[f"{classifier.scores}.bias"].detach()
    layer = next(iter(net.heads.values())).scores[0].layer
    expected = net.get_parameter(f"{layer}.weight").shape
    if num_classes > weight.shape[0] or weight.shape[1] != expected[1]:
        raise InputError(
            f"keep_scores takes {num_classes} rows of {expected[1]} from {classifier.scores}, which has "
            f"{weight.shape[0]} of {weight.shape[1]}; ask for at most as many classes, of a net that scores its trunk"
        )
    rows = weight[:num_classes].float()
    return {f"{layer}.weight": rows.reshape(expected), f"{layer}.bias": bias[:num_classes].float()}
