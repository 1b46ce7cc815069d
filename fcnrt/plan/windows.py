"""Which scores the final crop uses, found by walking a decoder's crops backwards.

Everything is said for one axis; rows and columns are alike. An upsampled entry ``Y`` of a transposed convolution is
reached by the coarse entries ``i`` with ``0 <= Y - i * stride < kernel``, so a window of the upsampled map needs
the coarse entries from ``ceil((first - kernel + 1) / stride)`` to ``(first + size - 1) // stride`` and no others.
"""

from __future__ import annotations

from dataclasses import dataclass

from fcnrt.models.decoder import Decoder, Upsample


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


def decoder_windows(decoder: Decoder, coarse: int, image: int) -> DecoderWindows:
    """The windows of ``decoder`` for a coarsest map of ``coarse`` entries and an image of ``image`` pixels.

    Raises:
        ValueError: the decoder's maps are too small to crop ``image`` pixels from.
    """
    lengths = [coarse]
    for up in (*(stage.upsample for stage in decoder.stages), decoder.final):
        lengths.append((lengths[-1] - 1) * up.stride + up.kernel)
    if decoder.crop + image > lengths[-1]:
        raise ValueError(
            f"{image} pixels from {decoder.crop} on do not fit into {lengths[-1]} upsampled scores; "
            f"expected a coarsest map of more than {coarse} entries"
        )
    used = _needed(decoder.final, Window(decoder.crop, image), lengths[-2])
    final = Window(decoder.crop - used.first * decoder.final.stride, image)
    stages = []
    for stage, length in zip(reversed(decoder.stages), reversed(lengths[:-2]), strict=True):
        coarser = _needed(stage.upsample, used, length)
        offset = used.first - coarser.first * stage.upsample.stride
        stages.append(StageWindow(offset, used.first + stage.skip.crop, used.size))
        used = coarser
    return DecoderWindows(score=used, stages=tuple(reversed(stages)), final=final)


def _needed(up: Upsample, window: Window, length: int) -> Window:
    """The entries of a map of ``length`` that reach ``window`` of its upsampled map."""
    first = max(0, -((up.kernel - 1 - window.first) // up.stride))
    last = min(length - 1, (window.first + window.size - 1) // up.stride)
    return Window(first, last - first + 1)
