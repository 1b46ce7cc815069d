"""Which scores the final crop uses, found by walking a decoder's crops backwards.

Everything is said for one axis; rows and columns are alike. An upsampled entry ``Y`` of a transposed convolution is
reached by the coarse entries ``i`` with ``0 <= Y - i * stride < kernel``, so a window of the upsampled map needs
the coarse entries from ``ceil((first - kernel + 1) / stride)`` to ``(first + size - 1) // stride`` and no others.
An interpolation stretches all of its input over all of its output, so it needs, and gives, whole maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fcnrt.models.decoder import Decoder, Resize, Upsampling


@dataclass(frozen=True)
class Window:
    """Entries ``first`` to ``first + size`` of an axis."""

    first: int
    size: int


@dataclass(frozen=True)
class StageWindow:
    """The part of one refinement stage that is used, on one axis."""

    offset: int
    """first entry in the upsampled map of the coarse *window* (not of the whole coarse map)"""
    skip_offset: int
    """first entry in the skip's feature map"""
    size: int


@dataclass(frozen=True)
class DecoderWindows:
    """The used part of every map of a decoder, on one axis, coarsest first."""

    score: Window
    """of the coarsest feature map"""
    stages: tuple[StageWindow, ...]
    final: Window
    """of the upsampled map of the last stage's window: the image"""


def decoder_windows(decoder: Decoder, lengths: Mapping[str, int], image: int) -> DecoderWindows:
    """The windows of ``decoder`` for feature maps of ``lengths`` entries and an image of ``image`` pixels.

    Raises:
        ValueError: a map is too small to crop from.
    """
    lengths_in = [lengths[decoder.scores[0].feature]]
    targets = [*(lengths[stage.skip.feature] for stage in decoder.stages), image]
    for upsampling, target in zip(decoder.upsamplings, targets, strict=True):
        lengths_in.append(_upsampled(upsampling, lengths_in[-1], target))
    full = lengths_in.pop()
    if decoder.crop + image > full:
        raise ValueError(
            f"{image} pixels from {decoder.crop} on do not fit into {full} upsampled scores; "
            f"expected a coarsest map of more than {lengths_in[0]} entries"
        )
    window = Window(decoder.crop, image)
    walked: list[tuple[int, Window]] = []  # offset into the upsampled window before, window of this upsampling
    for index in reversed(range(len(lengths_in))):
        whole = index > 0 and isinstance(decoder.upsamplings[index - 1], Resize)
        needed, offset = _needed(decoder.upsamplings[index], window, lengths_in[index], whole)
        walked.append((offset, window))
        window = needed
    (final_offset, _), *stages = walked
    return DecoderWindows(
        score=window,
        stages=tuple(
            StageWindow(offset, used.first + stage.skip.crop, used.size)
            for stage, (offset, used) in zip(decoder.stages, reversed(stages), strict=True)
        ),
        final=Window(final_offset, image),
    )


def _upsampled(upsampling: Upsampling, length: int, target: int) -> int:
    """Entries that ``length`` coarse ones become; ``target`` is what an interpolation aims at."""
    if isinstance(upsampling, Resize):
        return target
    return (length - 1) * upsampling.stride + upsampling.kernel


def _needed(upsampling: Upsampling, window: Window, length: int, whole: bool) -> tuple[Window, int]:
    """The coarse entries, of ``length``, that reach ``window``, and where the window begins in their upsampled map.

    ``whole`` says that they are all there anyway, since an interpolation makes them.
    """
    if isinstance(upsampling, Resize):
        return Window(0, length), window.first
    kernel, stride = upsampling.kernel, upsampling.stride
    first = 0 if whole else max(0, -((kernel - 1 - window.first) // stride))
    last = length - 1 if whole else min(length - 1, (window.first + window.size - 1) // stride)
    return Window(first, last - first + 1), window.first - first * stride
