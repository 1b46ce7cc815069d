"""What is shown to a net: the caller's images, or drawn scenes, with what the net takes beside colour."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from fcnrt.calibration import SCENES, SIXTEEN_BIT_SCENES, calibration_tensors, images_to_show
from fcnrt.engine import Placement
from fcnrt.errors import InputError
from fcnrt.preprocessing import PRESETS


@pytest.mark.parametrize(
    ("preset", "channels", "largest"), [("imagenet", 3, 2.7), ("nyud-color-hha", 6, 170.0), ("nyud-color-d", 4, 170.0)]
)
def test_scenes_are_drawn_as_the_net_takes_them(preset: str, channels: int, largest: float) -> None:
    scenes = calibration_tensors(None, PRESETS[preset], channels, eight_bits=False)
    assert len(scenes) == SIXTEEN_BIT_SCENES < SCENES
    for scene in scenes:
        assert scene.dtype == torch.float32 and scene.shape == (1, channels, 240, 320)
        assert scene.isfinite().all() and largest / 3 < scene.abs().max() < largest
        assert all(channel.std() > 0.05 for channel in scene[0])
    assert not torch.equal(scenes[0], scenes[1])


def test_the_caller_s_images() -> None:
    image = np.full((4, 5, 3), 255, dtype=np.uint8)
    (found,) = calibration_tensors(iter([image]), PRESETS["inception"], eight_bits=False)
    assert torch.equal(found, torch.ones(1, 3, 4, 5))


@pytest.mark.parametrize(
    ("dtype", "count"),
    [(torch.float32, 0), (torch.bfloat16, 0), (torch.float16, SIXTEEN_BIT_SCENES), (torch.int8, SCENES)],
)
def test_types_that_need_images_are_shown_some(dtype: torch.dtype, count: int) -> None:
    placement = Placement(torch.device("cpu"), dtype, "a test")
    assert len(images_to_show(placement, None, PRESETS["imagenet"], 3)) == count
    undecided = dataclasses.replace(placement, undecided=(torch.bfloat16, torch.float16))
    assert images_to_show(undecided, None, PRESETS["imagenet"], 3)


def test_refusals() -> None:
    image = np.zeros((4, 5, 3), dtype=np.uint8)
    with pytest.raises(InputError, match="calibration holds no images"):
        calibration_tensors([], PRESETS["imagenet"])
    with pytest.raises(InputError, match="have colour alone, and this net also takes HHA; pass calibration=None"):
        calibration_tensors([image], PRESETS["nyud-color-hha"], 6)
    for images, eight_bits in ((None, True), ([image], False)):
        with pytest.raises(InputError, match="takes 6 channels, and normalization 'imagenet' makes 3 of an image"):
            calibration_tensors(images, PRESETS["imagenet"], 6, eight_bits=eight_bits)
    assert calibration_tensors(None, PRESETS["imagenet"], 6, eight_bits=False) == []
