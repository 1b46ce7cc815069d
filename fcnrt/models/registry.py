"""The nets by name, and what can be said about one beyond its name and its classes.

A name without a publisher is the paper's net or its authors'; ``mmseg-``, ``ptsemseg-``, ``zijundeng-``,
``tramac-``, ``pochih-``, ``warmspringwinds-``, ``andrewssobral-`` and ``ai502-`` are those of other programs, whose
decoders differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fcnrt.errors import InputError
from fcnrt.models.alexnet_fcn import PADDING, AlexNetFCN, CaffeNetFCN
from fcnrt.models.andrewssobral_fcn import AndrewssobralFCN8s, AndrewssobralFCN16s
from fcnrt.models.fcn import FCN
from fcnrt.models.googlenet_fcn import GoogLeNetFCN
from fcnrt.models.mmseg_fcn import MMSegFCN
from fcnrt.models.nyud_fcn import NYUDEarlyFusionFCN32s, NYUDLateFusionFCN32s
from fcnrt.models.pochih_fcn import PochihFCN8s, PochihFCN16s, PochihFCN32s, PochihFCNs
from fcnrt.models.ptsemseg_fcn import PtsemsegFCN8s, PtsemsegFCN16s, PtsemsegFCN32s
from fcnrt.models.resnet import BLOCKS
from fcnrt.models.resnet_fcn import (
    DEFAULT_STRIDES,
    FCN8sResNet,
    FCN16sResNet,
    FCN32sResNet,
    TorchvisionFCN,
)
from fcnrt.models.siftflow_fcn import SiftFlowFCN8s, SiftFlowFCN16s, SiftFlowFCN32s
from fcnrt.models.stretched_fcn import AndrewssobralFCN32s, CourseAlexNetFCN, CourseGoogLeNetFCN, CourseVGG16FCN
from fcnrt.models.tramac_fcn import TramacFCN8s, TramacFCN16s, TramacFCN32s
from fcnrt.models.vgg_fcn import FCN8s, FCN8sAtOnce, FCN16s, FCN32s
from fcnrt.models.warmspringwinds_fcn import WarmspringwindsFCN, WarmspringwindsFCN8s, WarmspringwindsResNet9FCN
from fcnrt.models.zijundeng_fcn import ZijundengFCN16s

WIDTH: Mapping[str, Any] = {"width": 1.0}
PADDED: Mapping[str, Any] = {"width": 1.0, "padding": PADDING}


@dataclass(frozen=True)
class Architecture:
    """How a net is built.

    Args:
        build: called with the class count and the options, by keyword.
        options: constructor options that a checkpoint or a caller may set -> their defaults; JSON values.
        fixed: constructor arguments that make this the architecture that it is.
    """

    build: Callable[..., FCN]
    options: Mapping[str, Any] = field(default_factory=lambda: WIDTH)
    fixed: Mapping[str, Any] = field(default_factory=dict)


def _by_depth(name: str, build: Callable[..., FCN], **options: Any) -> dict[str, Architecture]:
    """A net for each depth of residual trunk; it ends the name."""
    return {f"{name}{depth}": Architecture(build, {**WIDTH, **options}, {"depth": depth}) for depth in BLOCKS}


def _torchvision(depth: int) -> Architecture:
    options = {**WIDTH, "output_stride": DEFAULT_STRIDES[depth], "aux": False}
    return Architecture(TorchvisionFCN, options, {"depth": depth})


_MMSEG: Mapping[str, Any] = {
    "output_stride": 8,
    "deep_stem": True,
    "head_dilation": 1,
    "align_corners": False,
    "aux": False,
}
_DILATED: Mapping[str, Any] = {"output_stride": 8}
_SIFT_FLOW: Mapping[str, Any] = {**WIDTH, "geometric_classes": 3}
_STRETCHED: Mapping[str, Any] = {**WIDTH, "rule": "align_corners"}
_CUT: Mapping[str, Any] = {**_STRETCHED, "pooled": False}
_POCHIH: Mapping[str, Any] = {**WIDTH, "trunk": "vgg16"}

ARCHITECTURES: Mapping[str, Architecture] = {
    "fcn32s": Architecture(FCN32s, PADDED),
    "fcn16s": Architecture(FCN16s, PADDED),
    "fcn8s": Architecture(FCN8s, PADDED),
    "fcn8s-atonce": Architecture(FCN8sAtOnce, PADDED),
    "fcn-alexnet": Architecture(CaffeNetFCN, PADDED),
    "fcn-alexnet-torchvision": Architecture(AlexNetFCN, PADDED),
    "fcn-googlenet": Architecture(GoogLeNetFCN, PADDED),
    "siftflow-fcn32s": Architecture(SiftFlowFCN32s, _SIFT_FLOW),
    "siftflow-fcn16s": Architecture(SiftFlowFCN16s, _SIFT_FLOW),
    "siftflow-fcn8s": Architecture(SiftFlowFCN8s, _SIFT_FLOW),
    "nyud-fcn32s-color-d": Architecture(NYUDEarlyFusionFCN32s),
    "nyud-fcn32s-color-hha": Architecture(NYUDLateFusionFCN32s),
    **{f"fcn-resnet{depth}": _torchvision(depth) for depth in BLOCKS},
    **_by_depth("fcn32s-resnet", FCN32sResNet),
    **_by_depth("fcn16s-resnet", FCN16sResNet),
    **_by_depth("fcn8s-resnet", FCN8sResNet),
    **_by_depth("mmseg-fcn-resnet", MMSegFCN, **_MMSEG),
    **_by_depth("warmspringwinds-fcn-resnet", WarmspringwindsFCN, **_DILATED),
    "warmspringwinds-fcn-resnet9": Architecture(WarmspringwindsResNet9FCN, {**WIDTH, **_DILATED}),
    **{
        f"warmspringwinds-fcn8s-resnet{depth}": Architecture(WarmspringwindsFCN8s, fixed={"depth": depth})
        for depth in (18, 34, 50)
    },
    "ptsemseg-fcn32s": Architecture(PtsemsegFCN32s, _STRETCHED),
    "ptsemseg-fcn16s": Architecture(PtsemsegFCN16s, _STRETCHED),
    "ptsemseg-fcn8s": Architecture(PtsemsegFCN8s, _STRETCHED),
    "zijundeng-fcn16s": Architecture(ZijundengFCN16s, PADDED),
    "tramac-fcn32s": Architecture(TramacFCN32s),
    "tramac-fcn16s": Architecture(TramacFCN16s),
    "tramac-fcn8s": Architecture(TramacFCN8s),
    "pochih-fcn32s": Architecture(PochihFCN32s, _POCHIH),
    "pochih-fcn16s": Architecture(PochihFCN16s, _POCHIH),
    "pochih-fcn8s": Architecture(PochihFCN8s, _POCHIH),
    "pochih-fcns": Architecture(PochihFCNs, _POCHIH),
    "andrewssobral-fcn32s": Architecture(AndrewssobralFCN32s, _STRETCHED),
    "andrewssobral-fcn16s": Architecture(AndrewssobralFCN16s, _CUT),
    "andrewssobral-fcn8s": Architecture(AndrewssobralFCN8s, _CUT),
    "ai502-fcn-vgg16": Architecture(CourseVGG16FCN),
    "ai502-fcn-alexnet": Architecture(CourseAlexNetFCN),
    "ai502-fcn-googlenet": Architecture(CourseGoogLeNetFCN),
}
"""By the names that ``fcnrt.load(arch=...)`` and ``model.spec.arch`` know."""


def create_model(arch: str, num_classes: int = 21, **options: Any) -> FCN:
    """A fresh net ``arch`` of ``ARCHITECTURES``, trainable, on the CPU in float32.

    Args:
        arch: its name.
        num_classes: classes, background included.
        options: as ``ARCHITECTURES[arch].options`` lists them, such as ``width``.

    Raises:
        InputError: no such architecture, or it has no such option.
    """
    if arch not in ARCHITECTURES:
        raise InputError(f"unknown architecture {arch!r}; known are {', '.join(ARCHITECTURES)}")
    architecture = ARCHITECTURES[arch]
    check_options(arch, options)
    return architecture.build(num_classes, **architecture.fixed, **options)


def create_skeleton(arch: str, num_classes: int = 21, **options: Any) -> FCN:
    """``create_model`` on the meta device: shapes without memory, for weights to be assigned to.

    Raises:
        InputError: as ``create_model``.
    """
    with torch.device("meta"), _Uninitialized():
        return create_model(arch, num_classes, **options)


class _Uninitialized(TorchFunctionMode):
    """Draws no random numbers: on the meta device, torch would import its whole compiler to draw none."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == nn.init.__name__:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return args[0] if func in (Tensor.normal_, Tensor.uniform_) else func(*args, **kwargs)


def check_options(arch: str, options: Mapping[str, Any]) -> None:
    """Refuse options that a net does not have, and values of another kind than its defaults.

    Raises:
        InputError: naming the options that there are, or the kind that was expected.
    """
    known = ARCHITECTURES[arch].options
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise InputError(f"{arch} has no option {', '.join(unknown)}; its options are {', '.join(known) or 'none'}")
    for name, value in options.items():
        kind = type(known[name])
        if not isinstance(value, kind) and not (kind is float and type(value) is int):
            raise InputError(f"option {name} of {arch} is {value!r}; expected a value like {known[name]!r}")
        if kind is int and (isinstance(value, bool) or value < 0):
            raise InputError(f"option {name} of {arch} is {value!r}; expected a whole number of at least 0")
