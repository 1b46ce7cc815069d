"""How pixels become network input: the conventions of the published checkpoints, as data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from fcnrt.errors import InputError

_FIELDS = ("name", "order", "scale", "mean", "std")
_BESIDE = "beside"

Kind: TypeAlias = Literal["hha", "depth"]
KINDS: Mapping[Kind, tuple[str, int]] = MappingProxyType({"hha": ("HHA", 3), "depth": ("depth", 1)})
"""What a network may take beside colour -> its name for people, its channels."""


@dataclass(frozen=True)
class Beside:
    """What a network takes beside colour, as channels behind the three of colour.

    Args:
        kind: ``"hha"``: disparity, height and angle, three channels of 0..255 as an image file has them.
            ``"depth"``: one channel, the natural logarithm of millimetres.
        mean: Subtracted; one number per channel.

    Raises:
        InputError: No such kind, or another count of numbers.
    """

    kind: Kind
    mean: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"normalization {_BESIDE} kind is {self.kind!r}; expected {' or '.join(map(repr, KINDS))}")
        object.__setattr__(self, "mean", _floats(f"{_BESIDE} mean", self.mean, KINDS[self.kind][1]))


@dataclass(frozen=True)
class Normalization:
    """``(value * scale - mean) / std`` per channel, channels first put into ``order``.

    Args:
        name: A name of :data:`PRESETS`, or ``"custom"``.
        order: Channel order of the network's input; images are RGB.
        scale: Multiplies the 0..255 value first: 1.0 (Caffe) or 1/255 (torchvision).
        mean: Subtracted after scaling, in ``order``.
        std: Divides last, in ``order``.
        beside: What the network takes beside colour, if anything.

    Raises:
        InputError: A field is of the wrong kind, not finite, or ``scale``/``std`` is not positive.
    """

    name: str
    order: Literal["rgb", "bgr"]
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    beside: Beside | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise InputError(f"normalization name is {self.name!r}; expected a string")
        if self.order not in ("rgb", "bgr"):
            raise InputError(f"normalization order is {self.order!r}; expected 'rgb' or 'bgr'")
        object.__setattr__(self, "scale", _floats("scale", (self.scale,), 1)[0])
        object.__setattr__(self, "mean", _floats("mean", self.mean, 3))
        object.__setattr__(self, "std", _floats("std", self.std, 3))
        if self.scale <= 0 or min(self.std) <= 0:
            raise InputError(f"normalization scale is {self.scale} and std is {self.std}; both must be positive")
        if self.beside is not None and not isinstance(self.beside, Beside):
            raise InputError(f"normalization {_BESIDE} is {self.beside!r}; expected a Beside, or None for colour alone")

    @property
    def channels(self) -> int:
        """Of the network's input."""
        return 3 if self.beside is None else 3 + len(self.beside.mean)

    def to_json(self) -> str:
        """One line of JSON that :meth:`from_json` reads back to an equal object."""
        data = {field: getattr(self, field) for field in _FIELDS}
        if self.beside is not None:
            data[_BESIDE] = {"kind": self.beside.kind, "mean": self.beside.mean}
        return json.dumps(data)

    @classmethod
    def from_json(cls, text: str) -> Normalization:
        """Inverse of :meth:`to_json`.

        Raises:
            InputError: ``text`` is not JSON, or not a normalization.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"normalization is not JSON: {error}") from error
        if not isinstance(data, dict) or set(data) - {_BESIDE} != set(_FIELDS):
            raise InputError(f"normalization must be a JSON object with exactly the keys {', '.join(_FIELDS)}")
        beside = data.pop(_BESIDE, None)
        if beside is None:
            return cls(**data)
        if not isinstance(beside, dict) or set(beside) != {"kind", "mean"} or not isinstance(beside["kind"], str):
            raise InputError(f"normalization {_BESIDE} is {beside!r}; expected the keys kind and mean")
        return cls(**data, beside=Beside(**beside))


def _floats(field: str, values: Any, count: int) -> tuple[float, ...]:
    """``values`` as ``count`` finite Python floats."""
    try:
        floats = tuple(float(value) for value in values if not isinstance(value, (str, bool)))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"normalization {field} is {values!r}; expected {count} number(s)") from error
    if len(floats) != count or not all(map(math.isfinite, floats)):
        raise InputError(f"normalization {field} is {values!r}; expected {count} finite number(s)")
    return floats


_ONES = (1.0, 1.0, 1.0)
_NYUD_MEAN = (116.190, 97.203, 92.318)
_HHA_MEAN = (132.431, 94.076, 118.477)
_VGG_MEAN = (103.939, 116.779, 123.68)
_BYTE = 1.0 / 255.0

# caffe-voc: voc_layers.py of shelhamer/fcn.berkeleyvision.org, and torchfcn/datasets/voc.py.
# siftflow, nyud, nyud-*: the layers of data beside it; HHA is three channels of depth, which are not swapped, and
# depth its logarithm.
# caffe-vgg: the mean of VGG's authors. pochih: the same in 0..1 (python/Cityscapes_loader.py of pochih/FCN-pytorch).
# digits: the Power layer of NVIDIA/DIGITS examples/semantic-segmentation/fcn_alexnet.prototxt.
# imagenet: torchvision's presets. mmseg: the same in 0..255. inception: transform_input of torchvision's GoogLeNet.
# ptsemseg: its loaders but for Pascal VOC, which subtract first and then divide by 255.
# yassouali: dataloaders/*.py of yassouali/pytorch-segmentation.
PRESETS: Mapping[str, Normalization] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Normalization("caffe-voc", "bgr", 1.0, (104.00698793, 116.66876762, 122.67891434), _ONES),
            Normalization("imagenet", "rgb", _BYTE, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            Normalization("mmseg", "rgb", 1.0, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
            Normalization("caffe-vgg", "bgr", 1.0, _VGG_MEAN, _ONES),
            Normalization("siftflow", "bgr", 1.0, (114.578, 115.294, 108.353), _ONES),
            Normalization("nyud", "bgr", 1.0, _NYUD_MEAN, _ONES),
            Normalization("nyud-hha", "rgb", 1.0, _HHA_MEAN, _ONES),
            Normalization("nyud-color-hha", "bgr", 1.0, _NYUD_MEAN, _ONES, Beside("hha", _HHA_MEAN)),
            Normalization("nyud-color-d", "bgr", 1.0, _NYUD_MEAN, _ONES, Beside("depth", (7.844,))),
            Normalization("digits", "bgr", 1.0, (116.0, 116.0, 116.0), _ONES),
            Normalization("inception", "rgb", _BYTE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
            Normalization("pochih", "bgr", _BYTE, (103.939 / 255.0, 116.779 / 255.0, 123.68 / 255.0), _ONES),
            Normalization("ptsemseg", "bgr", 1.0, (104.00699, 116.66877, 122.67892), (255.0, 255.0, 255.0)),
            Normalization("ptsemseg-cityscapes", "bgr", _BYTE, (0.0, 0.0, 0.0), _ONES),
            Normalization(
                "yassouali-voc", "rgb", _BYTE, (0.45734706, 0.43338275, 0.40058118), (0.23965294, 0.23532275, 0.2398498)
            ),
            Normalization(
                "yassouali-cityscapes",
                "rgb",
                _BYTE,
                (0.28689529, 0.32513294, 0.28389176),
                (0.17613647, 0.18099176, 0.17772235),
            ),
            Normalization(
                "yassouali-ade20k", "rgb", _BYTE, (0.48897059, 0.46548275, 0.4294), (0.22861765, 0.22948039, 0.24054667)
            ),
            Normalization(
                "yassouali-coco",
                "rgb",
                _BYTE,
                (0.43931922, 0.41310471, 0.37480941),
                (0.24272706, 0.23649098, 0.23429529),
            ),
        )
    }
)
"""The published conventions by name."""


def get_normalization(normalization: str | Normalization) -> Normalization:
    """The preset of that name, or the object itself.

    Raises:
        InputError: No preset has that name, or it is neither a name nor a :class:`Normalization`.
    """
    if isinstance(normalization, Normalization):
        return normalization
    if isinstance(normalization, str) and normalization in PRESETS:
        return PRESETS[normalization]
    raise InputError(
        f"unknown normalization {normalization!r}; "
        f"expected one of {', '.join(PRESETS)}, or a fcnrt.preprocessing.Normalization"
    )


def normalize(images: Tensor, normalization: str | Normalization, beside: Tensor | None = None) -> Tensor:
    """RGB images as network input, on the images' device.

    Args:
        images: uint8 ``[N, 3, H, W]``, RGB.
        normalization: A preset's name or a :class:`Normalization`.
        beside: What ``normalization.beside`` says: HHA, uint8 ``[N, 3, H, W]``, or depth in millimetres, float32
            ``[N, 1, H, W]``, on the same device.

    Returns:
        float32 ``[N, C, H, W]``: colour in the normalization's order, then what is beside it.

    Raises:
        InputError: A tensor has another dtype or shape, or ``beside`` is not what the normalization takes.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise InputError(
            f"images are {images.dtype} of shape {tuple(images.shape)}; expected torch.uint8 [N, 3, H, W], RGB"
        )
    rule = get_normalization(normalization)
    ordered = images.flip(1) if rule.order == "bgr" else images
    values = ordered.to(torch.float32, memory_format=torch.contiguous_format)
    if rule.scale != 1.0:
        values.mul_(rule.scale)
    values.sub_(values.new_tensor(rule.mean).view(1, 3, 1, 1))
    if rule.std != (1.0, 1.0, 1.0):
        values.div_(values.new_tensor(rule.std).view(1, 3, 1, 1))
    if rule.beside is None and beside is None:
        return values
    return torch.cat((values, _normalize_beside(beside, rule, images)), dim=1)


def _normalize_beside(beside: Tensor | None, rule: Normalization, images: Tensor) -> Tensor:
    if rule.beside is None or beside is None:
        taken = "colour alone" if rule.beside is None else f"{KINDS[rule.beside.kind][0]} beside colour"
        raise InputError(f"normalization {rule.name!r} takes {taken}; found {'none' if beside is None else 'more'}")
    dtype = torch.uint8 if rule.beside.kind == "hha" else torch.float32
    shape = (len(images), len(rule.beside.mean), *images.shape[2:])
    if beside.dtype != dtype or beside.shape != shape:
        raise InputError(
            f"{KINDS[rule.beside.kind][0]} is {beside.dtype} of shape {tuple(beside.shape)}; expected {dtype} {shape}"
        )
    values = beside.log() if rule.beside.kind == "depth" else beside.float()
    return values - values.new_tensor(rule.beside.mean).view(1, -1, 1, 1)
