from __future__ import annotations

import pytest

from fcnrt.errors import InputError
from fcnrt.palettes import VOC_CLASSES, voc_palette


def test_colours_are_those_of_the_voc_development_kit() -> None:
    palette = voc_palette(256)
    assert palette[:9] == (
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (128, 128, 0),
        (0, 0, 128),
        (128, 0, 128),
        (0, 128, 128),
        (128, 128, 128),
        (64, 0, 0),
    )
    assert palette[15] == (192, 128, 128)  # person
    assert palette[20] == (0, 64, 128)  # tvmonitor
    assert palette[255] == (224, 224, 192)  # void
    assert len(set(palette)) == 256


def test_any_number_of_colours() -> None:
    assert voc_palette(0) == ()
    assert voc_palette(300)[256:] == voc_palette(44)
    with pytest.raises(InputError, match="expected 0 or more"):
        voc_palette(-1)


def test_class_names() -> None:
    assert len(VOC_CLASSES) == 21
    assert VOC_CLASSES[0] == "background"
    assert list(VOC_CLASSES[1:]) == sorted(VOC_CLASSES[1:])
