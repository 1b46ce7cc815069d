"""Class names and colours of PASCAL VOC, the convention for label maps in this field."""

from __future__ import annotations

from fcnrt.errors import InputError

VOC_CLASSES: tuple[str, ...] = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


def voc_palette(n: int) -> tuple[tuple[int, int, int], ...]:
    """The first ``n`` colours (R, G, B in 0..255) of the VOC development kit's ``VOClabelcolormap``.

    Bits 0, 1, 2 of the class index become the highest bits of red, green and blue, bits 3, 4, 5 the
    next ones, and so on. Eight bits name 256 different colours; class ``i`` beyond that has the
    colour of ``i % 256``.

    Raises:
        InputError: ``n`` is negative.
    """
    if n < 0:
        raise InputError(f"a palette of {n} colours was asked for; expected 0 or more")
    return tuple(_voc_color(index % 256) for index in range(n))


def _voc_color(index: int) -> tuple[int, int, int]:
    red = green = blue = 0
    for shift in range(7, -1, -1):
        red |= (index & 1) << shift
        green |= (index >> 1 & 1) << shift
        blue |= (index >> 2 & 1) << shift
        index >>= 3
    return red, green, blue
