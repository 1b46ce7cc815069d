"""What a segmentation gives back: a label map, and the ways in which people look at one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fcnrt.errors import InputError
from fcnrt.imagefiles import write_png
from fcnrt.legend import Color, Entry, add_legend

VOID_LABEL = 255
"""What label maps of this field hold where no class applies, as VOC's own do along the contours."""

_VOID_NAME = "void"
_VOID_COLOR = (224, 224, 192)
_LARGEST_LABEL = 65535  # of a 16-bit PNG
_CLASSES_IN_REPR = 3


@dataclass(eq=False, repr=False)
class Segmentation:
    """The label map of one image.

    Args:
        labels: Class indices [H, W] at the image's own size, upright: uint8, or int32 past 255 classes. In
            uint8, 255 is void.
        classes: Class names by index.
        palette: Colours (R, G, B) in 0..255 by class index, at least one for each class.
        image: The RGB image [H, W, 3], uint8, that was segmented; needed by ``overlay`` alone.
        path: The file that the image came from.
        speed: Stage -> milliseconds.
        confidence: Probability [H, W] of the winning class, float16, when it was asked for.
        heads: Head -> label map, for a network with several; ``labels`` is the first.

    Raises:
        InputError: The labels are not a uint8 or int32 map with at least one pixel, none of them negative, or
            the image is of another size, or there are fewer colours than classes.
    """

    labels: npt.NDArray[Any]
    classes: tuple[str, ...]
    palette: Sequence[Color]
    image: npt.NDArray[np.uint8] | None = None
    path: str | None = None
    speed: dict[str, float] = field(default_factory=dict)
    confidence: npt.NDArray[np.float16] | None = None
    heads: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        labels = self.labels
        found = f"labels are {labels.dtype} {list(labels.shape)}"
        if labels.dtype not in (np.uint8, np.int32) or labels.ndim != 2 or labels.size == 0:
            raise InputError(f"{found}; expected a uint8 or int32 map [H, W] with at least one pixel")
        if labels.dtype == np.int32 and labels.min() < 0:
            raise InputError(f"{found} and as low as {labels.min()}; expected class indices from 0")
        image = self.image
        if image is not None and (image.dtype != np.uint8 or image.shape != (*labels.shape, 3)):
            raise InputError(
                f"{found}, the image {image.dtype} {list(image.shape)}; expected a uint8 image [H, W, 3] of "
                "the same size"
            )
        if len(self.palette) < len(self.classes):
            raise InputError(
                f"the palette has {len(self.palette)} colours for {len(self.classes)} classes; expected one "
                "each, for example from fcnrt.palettes.voc_palette"
            )

    def __repr__(self) -> str:
        height, width = self.labels.shape
        rows = self.summary()
        largest = [f"{row['class']} {row['share']:.1%}" for row in rows[:_CLASSES_IN_REPR]]
        if len(rows) > _CLASSES_IN_REPR:
            largest.append(f"{len(rows) - _CLASSES_IN_REPR} more")
        source = "" if self.path is None else f"{self.path!r}, "
        return f"Segmentation({source}{width}x{height}: {', '.join(largest)})"

    def summary(self) -> list[dict[str, Any]]:
        """The classes present, largest first: ``class`` (its name), ``index``, ``pixels`` and ``share``.

        Void counts as a class; the shares sum to 1.
        """
        pixels = np.bincount(self.labels.ravel())
        present = np.flatnonzero(pixels)
        return [
            {
                "class": self._name(index),
                "index": index,
                "pixels": int(pixels[index]),
                "share": int(pixels[index]) / self.labels.size,
            }
            for index in present[np.argsort(-pixels[present], kind="stable")].tolist()
        ]

    def to_dict(self) -> dict[str, Any]:
        """For ``json.dumps``: ``path``, ``width``, ``height``, ``classes`` (the summary) and ``speed``."""
        height, width = self.labels.shape
        return {
            "path": self.path,
            "width": width,
            "height": height,
            "classes": self.summary(),
            "speed": {stage: round(milliseconds, 3) for stage, milliseconds in self.speed.items()},
        }

    def overlay(self, alpha: float = 0.5, *, legend: bool = True) -> Image.Image:
        """The image with each pixel blended towards the colour of its class, as an RGB PIL image.

        Args:
            alpha: 0 shows the image alone, 1 the colours alone.
            legend: Add a panel below or to the right with colour, name and share of the classes present. The
                picture stays as it is, at the top left; without a legend, it is all there is.

        Raises:
            InputError: ``alpha`` is not in 0..1, or the segmentation came without its image.
        """
        if isinstance(alpha, bool) or not isinstance(alpha, Real) or not 0 <= alpha <= 1:
            raise InputError(f"alpha is {alpha!r}; expected a number from 0 (image alone) to 1 (colours alone)")
        if self.image is None:
            raise InputError(
                "this segmentation was made without its image, so there is nothing to lay the colours over; "
                "set .image to the uint8 RGB array [H, W, 3]"
            )
        colors = Image.fromarray(self._colors()[self.labels])
        picture = Image.blend(Image.fromarray(np.ascontiguousarray(self.image)), colors, float(alpha))
        if not legend:
            return picture
        entries = [Entry(row["class"], row["share"], self._color(row["index"])) for row in self.summary()]
        return add_legend(picture, entries)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the label map as PNG: whole or not at all. Its folder is created where it is missing.

        uint8 labels become an indexed PNG (mode P) with the palette, whose pixels are the labels, void
        included; int32 labels a 16-bit grey one.

        Raises:
            InputError: ``path`` does not end in .png or cannot be written, or a label is past 65535.
        """
        if self.labels.dtype == np.uint8:
            picture = Image.fromarray(np.ascontiguousarray(self.labels))
            picture.putpalette(self._colors().tobytes())
        else:
            largest = self.labels.max()
            if largest > _LARGEST_LABEL:
                raise InputError(f"label {largest} does not fit a 16-bit PNG; save .labels with numpy.save")
            picture = Image.fromarray(np.ascontiguousarray(self.labels, dtype=np.uint16))
        write_png(picture, path)

    def _name(self, index: int) -> str:
        if index < len(self.classes):
            return self.classes[index]
        return _VOID_NAME if self._is_void(index) else f"class {index}"

    def _color(self, index: int) -> Color:
        if index < len(self.palette):
            red, green, blue = self.palette[index]
            return red, green, blue
        return _VOID_COLOR if self._is_void(index) else (0, 0, 0)

    def _is_void(self, index: int) -> bool:
        return index == VOID_LABEL and self.labels.dtype == np.uint8

    def _colors(self) -> npt.NDArray[np.uint8]:
        """Colours [256 or more, 3] by label."""
        count = max(256, int(self.labels.max()) + 1)
        return np.array([self._color(index) for index in range(count)], dtype=np.uint8)
