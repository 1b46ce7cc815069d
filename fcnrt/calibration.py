"""The images that show how large a net's activations become, before they are kept in 8 bits."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from fcnrt.errors import InputError
from fcnrt.images import ImageSource, read_image
from fcnrt.preprocessing import Normalization, normalize

SCENES = 6
FIRST_SCENE = 700_000
"""Seeds that no scene of the demo's training or evaluation has."""
SCENE_SIZE = (240, 320)


def calibration_tensors(images: Iterable[ImageSource] | None, normalization: Normalization) -> list[Tensor]:
    """Normalised images, ``[1,3,H,W]`` each.

    Args:
        images: what ``fcnrt.images.read_image`` takes; None for procedural scenes, which ship with the package.
        normalization: of the net.

    Raises:
        ImageError: an image cannot be read.
        InputError: there are none, or the net takes more than colour.
    """
    if normalization.channels != 3:
        raise InputError(
            f"int8 takes nets of three channels, this one has {normalization.channels}; load it in float32"
        )
    if images is None:
        from fcnrt.demo.scenes import scene  # here, since the demo is built on all of fcnrt

        arrays = [scene(FIRST_SCENE + index, *SCENE_SIZE)[0] for index in range(SCENES)]
    else:
        arrays = [read_image(image) for image in images]
    if not arrays:
        raise InputError("calibration holds no images; give a few that are like those to be segmented, or None")
    return [normalize(torch.from_numpy(array).permute(2, 0, 1)[None], normalization) for array in arrays]
