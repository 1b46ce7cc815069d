"""The images that show how large a net's activations become, before they are kept in 8 or 16 bits."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import torch
from torch import Tensor

from fcnrt.engine.placement import Placement
from fcnrt.errors import InputError
from fcnrt.images import ImageSource, is_several, read_image
from fcnrt.preprocessing import KINDS, Normalization, normalize
from fcnrt.rgb import Pixels

SCENES = 6
SIXTEEN_BIT_SCENES = 2
"""float16 has sixteenfold room above what they show, and each takes a seventh of a second to draw."""
FIRST_SCENE = 700_000
"""Seeds that no scene of the demo's training or evaluation has."""
SCENE_SIZE = (240, 320)
NEAREST, DEEPEST = 500.0, 10_000.0
"""Millimetres that the darkest and the brightest pixel of a scene stand for, where a net takes depth."""


def images_to_show(
    placement: Placement, images: Iterable[ImageSource] | None, normalization: Normalization, channels: int
) -> list[Tensor]:
    """What a net is calibrated with, ``[1,C,H,W]`` each; none for types that need none.

    Args:
        placement: says the type.
        images, normalization, channels: as for :func:`calibration_tensors`, which also says what is raised.
    """
    if not placement.calibrated:
        return []
    return calibration_tensors(images, normalization, channels, eight_bits=placement.dtype == torch.int8)


def calibration_tensors(
    images: Iterable[ImageSource] | None, normalization: Normalization, channels: int = 3, *, eight_bits: bool = True
) -> list[Tensor]:
    """Normalised images, ``[1,C,H,W]`` each.

    Args:
        images: what ``fcnrt.images.read_image`` takes; None for procedural scenes, which ship with the package. What
            a net takes beside colour is drawn too: another scene for HHA, brightness for depth.
        normalization: of the net.
        channels: that the net takes.
        eight_bits: images are needed, and several. Otherwise a net that its normalization does not fit has none, and
            a few scenes do.

    Raises:
        ImageError: an image cannot be read.
        InputError: there are none, or the net takes more than they have.
    """
    if normalization.channels != channels:
        if images is None and not eight_bits:
            return []
        raise InputError(
            f"the net takes {channels} channels, and normalization {normalization.name!r} makes "
            f"{normalization.channels} of an image, so none can be shown to it; load it with another normalization, "
            "or in float32 or bfloat16"
        )
    if images is None:
        return [_drawn(index, normalization) for index in range(SCENES if eight_bits else SIXTEEN_BIT_SCENES)]
    if normalization.beside is not None:
        raise InputError(
            f"calibration images have colour alone, and this net also takes {KINDS[normalization.beside.kind][0]}; "
            "pass calibration=None for drawn ones, which have both"
        )
    if not is_several(images):
        raise InputError(f"calibration is one {type(images).__name__}; expected several images, as a list")
    arrays = [read_image(image) for image in images]
    if not arrays:
        raise InputError("calibration holds no images; give a few that are like those to be segmented, or None")
    return [normalize(_planar(array), normalization) for array in arrays]


def _drawn(index: int, normalization: Normalization) -> Tensor:
    pixels, beside = _planar(_scene(index)), None
    if normalization.beside is not None:
        beside = _planar(_scene(index + 1))
        if normalization.beside.kind == "depth":
            brightness = beside.float().mean(dim=1, keepdim=True) / 255
            beside = NEAREST + (DEEPEST - NEAREST) * brightness
    return normalize(pixels, normalization, beside)


def _planar(pixels: Pixels) -> Tensor:
    """``[H,W,3]`` to ``[1,3,H,W]``."""
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


@functools.cache
def _scene(index: int) -> Pixels:
    from fcnrt.demo.scenes import scene  # here, since the demo is built on all of fcnrt

    return scene(FIRST_SCENE + index, *SCENE_SIZE)[0]
