from __future__ import annotations

import numpy as np
import pytest

from fcnrt.demo.backgrounds import PAINTERS, Painter
from fcnrt.demo.colours import draw_scheme
from fcnrt.demo.patterns import PATTERNS, Pattern
from fcnrt.demo.scenes import CLASSES, portrait, scene
from fcnrt.demo.shapes import OUTLINES
from fcnrt.errors import InputError
from fcnrt.metrics import ConfusionMatrix


def test_a_scene_depends_on_its_arguments_alone() -> None:
    image, labels = scene(7, 96, 128)
    again, labels_again = scene(7, 96, 128)
    other, _ = scene(8, 96, 128)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(labels, labels_again)
    assert (image != other).any()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (33, 47), (240, 320)])
def test_a_scene_has_the_size_asked_for(height: int, width: int) -> None:
    image, labels = scene(3, height, width)
    assert image.shape == (height, width, 3)
    assert labels.shape == (height, width)
    assert image.dtype == labels.dtype == np.uint8
    assert labels.max() < len(CLASSES)


def test_every_class_occurs_and_colour_alone_does_not_tell_it() -> None:
    pairs = [scene(seed, 160, 160) for seed in range(40)]
    pixels = np.concatenate([image for image, _ in pairs]).reshape(-1, 3).astype(np.float32)
    labels = np.concatenate([label for _, label in pairs]).ravel()
    counts = np.bincount(labels, minlength=len(CLASSES))
    assert len(CLASSES) == 11
    assert (counts > 0.003 * counts.sum()).all()
    assert 0.4 < counts[0] / counts.sum() < 0.8
    means = np.array([pixels[labels == index].mean(0) for index in range(len(CLASSES))])
    nearest = ((pixels[:, None] - means[None]) ** 2).sum(-1).argmin(1)
    matrix = ConfusionMatrix(len(CLASSES))
    matrix.update(labels, nearest)
    assert 0.1 < matrix.scores().mean_iu < 0.3


def test_portraits_show_every_class_and_depend_on_their_arguments_alone() -> None:
    image, index = portrait(5, 48)
    again, index_again = portrait(5, 48)
    np.testing.assert_array_equal(image, again)
    assert index == index_again
    assert image.shape == (48, 48, 3)
    assert image.dtype == np.uint8
    assert {portrait(seed, 24)[1] for seed in range(80)} == set(range(1, len(CLASSES)))


@pytest.mark.parametrize("name", OUTLINES)
def test_outlines_stay_near_the_unit_disc(name: str) -> None:
    for seed in range(20):
        for part in OUTLINES[name](np.random.default_rng(seed)):
            assert part.points.shape[1] == 2
            assert np.isfinite(part.points).all()
            assert np.abs(part.points).max() < 1.3


@pytest.mark.parametrize("painter", PAINTERS)
def test_backgrounds_cover_any_size(painter: Painter) -> None:
    rng = np.random.default_rng(0)
    first, second = draw_scheme(rng)[:2]
    for height, width in ((1, 1), (31, 50)):
        picture = painter(rng, height, width, first, second)
        assert picture.shape == (height, width, 3)
        assert np.isfinite(picture).all()


@pytest.mark.parametrize("pattern", set(PATTERNS))
def test_patterns_are_shares(pattern: Pattern) -> None:
    y, x = np.mgrid[-1:1:20j, -1:1:30j].astype(np.float32)
    share = pattern(np.random.default_rng(0), x, y)
    assert share.shape == x.shape
    assert 0 <= share.min() <= share.max() <= 1


def test_a_scene_without_area_is_refused() -> None:
    with pytest.raises(InputError, match="0x5 pixels has no area"):
        scene(0, 0, 5)
