"""Label maps out: files that round-trip, summaries that add up, overlays that can be read."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fcnrt.errors import InputError
from fcnrt.palettes import VOC_CLASSES, voc_palette
from fcnrt.segmentation import Segmentation


def segmentation(labels: npt.NDArray[Any], **changes: Any) -> Segmentation:
    """A VOC segmentation with a noise picture, unless ``changes`` says otherwise."""
    picture = np.random.default_rng(0).integers(0, 256, (*labels.shape, 3), dtype=np.uint8)
    fields = {"classes": VOC_CLASSES, "palette": voc_palette(21), "image": picture, **changes}
    return Segmentation(labels, **fields)


def patches(height: int, width: int, classes: int) -> npt.NDArray[np.uint8]:
    """A label map of ``classes`` vertical stripes, as far as they fit."""
    return np.tile(np.arange(width) * classes // width, (height, 1)).astype(np.uint8)


EVERY_LABEL = np.arange(256, dtype=np.uint8).reshape(16, 16)


def test_an_indexed_png_round_trips_every_label_and_shows_its_colours(tmp_path: Path) -> None:
    result = segmentation(EVERY_LABEL, image=None)
    result.save(tmp_path / "new" / "labels.png")
    saved = Image.open(tmp_path / "new" / "labels.png")
    assert saved.mode == "P" and saved.format == "PNG"
    assert (np.asarray(saved) == EVERY_LABEL).all()
    colors = np.asarray(saved.convert("RGB")).reshape(256, 3)
    assert (colors[:21] == voc_palette(21)).all()
    assert colors[255].tolist() == [224, 224, 192]
    assert os.listdir(tmp_path / "new") == ["labels.png"]


@pytest.mark.parametrize("label", [0, 7, 255])
def test_a_label_map_of_one_pixel_round_trips(tmp_path: Path, label: int) -> None:
    segmentation(np.full((1, 1), label, np.uint8), image=None).save(tmp_path / "one.png")
    assert np.asarray(Image.open(tmp_path / "one.png")).tolist() == [[label]]


def test_labels_that_are_a_view_are_saved_as_they_look(tmp_path: Path) -> None:
    labels = EVERY_LABEL[::-2, 1::3].T
    segmentation(labels, image=None).save(tmp_path / "view.png")
    assert (np.asarray(Image.open(tmp_path / "view.png")) == labels).all()


def test_more_than_255_classes_become_a_sixteen_bit_png(tmp_path: Path) -> None:
    labels = np.array([[0, 255, 256], [999, 40000, 65535]], np.int32)
    classes = tuple(f"class-{index}" for index in range(1000))
    result = segmentation(labels, classes=classes, palette=voc_palette(1000))
    result.save(tmp_path / "many.png")
    saved = Image.open(tmp_path / "many.png")
    assert saved.mode == "I;16" and (np.asarray(saved) == labels).all()
    names = {row["index"]: row["class"] for row in result.summary()}
    assert names[255] == "class-255" and names[999] == "class-999" and names[40000] == "class 40000"
    with pytest.raises(InputError, match="label 65536 does not fit a 16-bit PNG"):
        segmentation(labels + 1, classes=classes, palette=voc_palette(1000)).save(tmp_path / "more.png")


def test_only_png_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"labels\.jpg: only PNG files are written"):
        segmentation(EVERY_LABEL).save(tmp_path / "labels.jpg")
    assert os.listdir(tmp_path) == []


def test_the_summary_is_largest_first_and_adds_up() -> None:
    labels = np.zeros((10, 10), np.uint8)
    labels[:6] = 15
    labels[9, :2] = 255
    labels[9, 2:4] = 3
    rows = segmentation(labels).summary()
    assert rows[0] == {"class": "person", "index": 15, "pixels": 60, "share": 0.6}
    assert [row["class"] for row in rows] == ["person", "background", "bird", "void"]
    assert sum(row["pixels"] for row in rows) == 100
    assert sum(row["share"] for row in rows) == pytest.approx(1, abs=1e-12)


def test_a_segmentation_describes_itself() -> None:
    result = segmentation(patches(3, 8, 4), path="street.jpg", speed={"network": 1.23456})
    assert repr(result) == ("Segmentation('street.jpg', 8x3: background 25.0%, aeroplane 25.0%, bicycle 25.0%, 1 more)")
    record = json.loads(json.dumps(result.to_dict()))
    assert record["path"] == "street.jpg" and (record["width"], record["height"]) == (8, 3)
    assert record["classes"] == result.summary() and record["speed"] == {"network": 1.235}


def test_the_overlay_blends_each_pixel_with_its_class() -> None:
    result = segmentation(EVERY_LABEL)
    assert result.image is not None
    colors = np.zeros((256, 3))
    colors[:21], colors[255] = voc_palette(21), (224, 224, 192)
    for alpha in (0, 0.3, np.float32(0.5), 1):
        overlay = result.overlay(float(alpha), legend=False)
        assert overlay.mode == "RGB" and overlay.size == (16, 16)
        expected = (1 - alpha) * result.image + alpha * colors[EVERY_LABEL]
        assert np.abs(np.asarray(overlay) - expected).max() <= 1
    assert (np.asarray(result.overlay(0, legend=False)) == result.image).all()


@pytest.mark.parametrize("classes", [1, 2, 21])
@pytest.mark.parametrize("size", [(1, 1), (40, 30), (500, 375), (64, 900), (1200, 60)])
def test_the_legend_leaves_the_picture_alone_and_shows_every_class(size: tuple[int, int], classes: int) -> None:
    width, height = size
    result = segmentation(patches(height, width, classes))
    picture = np.asarray(result.overlay(legend=False))
    overlay = np.asarray(result.overlay())
    assert (overlay[:height, :width] == picture).all()
    panel = overlay.copy()
    panel[:height, :width] = panel[-1, -1]
    for row in result.summary():
        swatch = (panel == voc_palette(21)[row["index"]]).all(axis=-1)
        assert swatch.sum() >= 11 * 11, row
    ink = (panel.max(axis=-1) < 90) & (panel.max(axis=-1) - panel.min(axis=-1) < 10)
    assert ink.sum() > 20 * len(result.summary())
    edges = np.concatenate([panel[-3:].reshape(-1, 3), panel[:, -3:].reshape(-1, 3)])
    assert (edges == panel[-1, -1]).all(), "nothing is cut off at the edge"
    assert overlay.shape[0] - height < 500 and overlay.shape[1] - width < 1000


def test_the_legend_of_a_large_picture_is_large() -> None:
    def height_of_panel(scale: int) -> int:
        labels = np.zeros((60 * scale, 80 * scale), np.uint8)
        return segmentation(labels).overlay().size[1] - 60 * scale

    assert height_of_panel(20) > 2 * height_of_panel(4)


def test_a_legend_stays_bounded_whatever_the_class_names() -> None:
    labels = np.arange(300, dtype=np.int32).reshape(15, 20).repeat(4, 0).repeat(4, 1)
    classes = ("x" * 100_000, "two\nlines\x00", "", *(f"class {index}" for index in range(297)))
    overlay = segmentation(labels, classes=classes, palette=voc_palette(300)).overlay()
    assert overlay.size[0] < 1500 and overlay.size[1] < 1500


def test_alpha_and_the_image_are_checked() -> None:
    result = segmentation(EVERY_LABEL)
    wrong: list[Any] = [-0.1, 1.1, float("nan"), "0.5", None, True]
    for alpha in wrong:
        with pytest.raises(InputError, match=r"alpha is .*; expected a number from 0"):
            result.overlay(alpha)
    with pytest.raises(InputError, match=r"made without its image.*set \.image"):
        segmentation(EVERY_LABEL, image=None).overlay()


@pytest.mark.parametrize(
    ("labels", "changes", "message"),
    [
        (np.zeros((2, 3), np.int64), {}, r"labels are int64 \[2, 3\]; expected a uint8 or int32 map"),
        (np.zeros((1, 2, 3), np.uint8), {}, r"uint8 \[1, 2, 3\]"),
        (np.zeros((0, 3), np.uint8), {}, "at least one pixel"),
        (np.full((2, 3), -1, np.int32), {}, "as low as -1; expected class indices from 0"),
        (
            np.zeros((2, 3), np.uint8),
            {"image": np.zeros((3, 2, 3), np.uint8)},
            r"the image uint8 \[3, 2, 3\]",
        ),
        (np.zeros((2, 3), np.uint8), {"image": np.zeros((2, 3, 3))}, r"the image float64"),
        (np.zeros((2, 3), np.uint8), {"palette": voc_palette(20)}, "20 colours for 21 classes"),
    ],
)
def test_what_does_not_fit_together_is_refused(labels: npt.NDArray[Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        segmentation(labels, **changes)


def test_an_overlay_can_be_encoded_anywhere() -> None:
    stream = io.BytesIO()
    segmentation(patches(9, 9, 3)).overlay().save(stream, "JPEG")
    assert stream.getvalue()[:2] == b"\xff\xd8"
