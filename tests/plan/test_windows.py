"""``decoder_windows`` against a boolean walk: which entries really reach the image, entry by entry."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from fcnrt.models import FCN8s, FCN8sAtOnce, FCN16s, FCN32s
from fcnrt.models.decoder import Decoder, Deconvolution, Resize, Score, Skip, Stage
from fcnrt.plan.windows import decoder_windows

Mask = npt.NDArray[np.bool_]

VGG_DECODERS = [cls.DECODER for cls in (FCN32s, FCN16s, FCN8s, FCN8sAtOnce)]
SIZES = [*range(1, 300), 375, 500, 1024, 2047]


def vgg_lengths(image: int) -> dict[str, int]:
    length, lengths = image + 198, {}
    for block in range(1, 6):
        length = -(-length // 2)
        lengths[f"pool{block}"] = length
    return {**lengths, "fc7": length - 6}


def reach(kernel: int, stride: int, fine: Mask, coarse: int) -> Mask:
    """Which of ``coarse`` entries reach one of the ``fine`` entries that are True."""
    return np.array([fine[i * stride : i * stride + kernel].any() for i in range(coarse)])


@pytest.mark.parametrize("decoder", VGG_DECODERS, ids=["32s", "16s", "8s", "at-once"])
def test_windows_hold_what_reaches_the_image_and_nothing_else(decoder: Decoder) -> None:
    for image in SIZES:
        lengths = vgg_lengths(image)
        windows = decoder_windows(decoder, lengths, image)
        maps = [lengths["fc7"]]
        for up in decoder.upsamplings:
            assert isinstance(up, Deconvolution)
            maps.append((maps[-1] - 1) * up.stride + up.kernel)
        needed = np.zeros(maps[-1], dtype=bool)
        needed[decoder.crop : decoder.crop + image] = True
        assert needed.sum() == image
        starts = []
        for up, length in zip(reversed(decoder.upsamplings), reversed(maps[:-1]), strict=True):
            assert isinstance(up, Deconvolution)
            needed = reach(up.kernel, up.stride, needed, length)
            first, last = np.flatnonzero(needed)[[0, -1]]
            starts.append((int(first), int(last - first + 1)))
        starts.reverse()
        assert (windows.score.first, windows.score.size) == starts[0]
        assert windows.final.first == decoder.crop - starts[-1][0] * decoder.upsamplings[-1].stride  # type: ignore[union-attr]
        for stage, window, coarse, fine in zip(decoder.stages, windows.stages, starts[:-1], starts[1:], strict=True):
            assert isinstance(stage.upsampling, Deconvolution)
            assert window.size == fine[1]
            assert window.offset == fine[0] - coarse[0] * stage.upsampling.stride
            assert window.skip_offset == fine[0] + stage.skip.crop
            assert window.skip_offset + window.size <= lengths[stage.skip.feature]


def test_interpolation_takes_and_gives_whole_maps() -> None:
    decoder = Decoder(
        (Score("c5", "a"),),
        (
            Stage(Resize("align_corners"), Skip("c4", "b")),
            Stage(Deconvolution("up", 4, 2), Skip("c3", "c", crop=1)),
        ),
        Resize("half_pixel"),
    )
    windows = decoder_windows(decoder, {"c5": 3, "c4": 5, "c3": 13}, image=100)
    first, second = windows.stages
    assert (windows.score.first, windows.score.size) == (0, 3)
    assert (first.offset, first.skip_offset, first.size) == (0, 0, 5)
    assert (second.offset, second.skip_offset, second.size) == (0, 1, 12)
    assert (windows.final.first, windows.final.size) == (0, 100)


def test_too_small_a_map_is_refused() -> None:
    with pytest.raises(ValueError, match="500 pixels from 19 on do not fit into 64 upsampled scores"):
        decoder_windows(FCN32s.DECODER, {"fc7": 1}, image=500)
