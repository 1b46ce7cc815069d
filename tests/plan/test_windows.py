"""Windows against a walk over every entry: those that reach the image, no more and no fewer."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from fcnrt.models import FCN8s, FCN8sAtOnce, FCN16s, FCN32s
from fcnrt.models.decoder import Decoder, Deconvolution, Resize, Score, Skip, Stage
from fcnrt.plan.windows import DecoderWindows, StageWindow, Window, decoder_windows

DECODERS = {net.__name__: net.DECODER for net in (FCN32s, FCN16s, FCN8s, FCN8sAtOnce)}


def trunk(image: int) -> dict[str, int]:
    """Lengths of VGG16's maps: 198 more by padding, five halvings that round up, a 7-wide convolution."""
    length, lengths = image + 198, {}
    for block in range(1, 6):
        length = (length + 1) // 2
        lengths[f"pool{block}"] = length
    return lengths | {"fc7": length - 6}


def walk(decoder: Decoder, coarse: int, image: int) -> list[set[int]]:
    """For each map of scores, coarsest first, the entries from which something flows into the image."""
    lengths = [coarse]
    for up in decoder.upsamplings:
        assert isinstance(up, Deconvolution)
        lengths.append((lengths[-1] - 1) * up.stride + up.kernel)
    used = [set(range(decoder.crop, decoder.crop + image))]
    for up, length in zip(reversed(decoder.upsamplings), reversed(lengths[:-1]), strict=True):
        assert isinstance(up, Deconvolution)
        reached = {i for i in range(length) if any(i * up.stride + k in used[0] for k in range(up.kernel))}
        used.insert(0, reached)
    return used


def assert_windows(windows: DecoderWindows, decoder: Decoder, lengths: Mapping[str, int], image: int) -> None:
    used = walk(decoder, lengths[decoder.scores[0].feature], image)
    window = windows.score
    assert used[0] == set(range(window.first, window.first + window.size))
    first = window.first  # of the window that holds the scores so far
    for stage, found, entries in zip(decoder.stages, windows.stages, used[1:], strict=False):
        assert isinstance(stage.upsampling, Deconvolution)
        first = found.offset + first * stage.upsampling.stride
        assert entries == set(range(first, first + found.size))
        assert found.skip_offset == first + stage.skip.crop
        assert 0 <= found.skip_offset <= found.skip_offset + found.size <= lengths[stage.skip.feature]
    assert isinstance(decoder.final, Deconvolution)
    assert windows.final == Window(decoder.crop - first * decoder.final.stride, image)
    assert windows.final.first >= 0


@pytest.mark.parametrize("name", DECODERS)
def test_every_size(name: str) -> None:
    for image in (*range(1, 301), 375, 500, 1024, 2049):
        lengths = trunk(image)
        assert_windows(decoder_windows(DECODERS[name], lengths, image), DECODERS[name], lengths, image)


@pytest.mark.parametrize(
    ("kernel", "stride", "crop"), [(4, 2, 0), (5, 2, 3), (3, 3, 1), (7, 2, 6), (1, 1, 2), (64, 32, 19), (63, 32, 18)]
)
def test_other_kernels(kernel: int, stride: int, crop: int) -> None:
    """Also those that no FCN has, with crops that begin before, at and after the first whole stride."""
    decoder = Decoder(
        (Score("coarse", "score"),),
        (Stage(Deconvolution("up", 4, 2), Skip("fine", "score_fine", crop=1)),),
        Deconvolution("last", kernel, stride),
        crop,
    )
    for coarse in range(1, 7):
        lengths = {"coarse": coarse, "fine": 2 * coarse + 3}
        full = (2 * coarse + 1) * stride + kernel
        for image in range(1, full - crop + 1):
            assert_windows(decoder_windows(decoder, lengths, image), decoder, lengths, image)


def test_fcn8s_of_500_pixels() -> None:
    """Written out: fc7 is 16 wide, and the crop at 31 begins in the third of upscore8's eights."""
    windows = decoder_windows(DECODERS["FCN8s"], trunk(500), 500)
    assert windows == DecoderWindows(Window(0, 16), (StageWindow(0, 5, 34), StageWindow(2, 11, 65)), Window(15, 500))


def test_interpolations_take_and_give_whole_maps() -> None:
    """Also where a deconvolution follows one that would do with less."""
    decoder = Decoder(
        (Score("c5", "a"),),
        (Stage(Resize("align_corners"), Skip("c4", "b")), Stage(Deconvolution("up", 4, 2), Skip("c3", "c", crop=1))),
        Resize("half_pixel"),
    )
    windows = decoder_windows(decoder, {"c5": 3, "c4": 5, "c3": 13}, image=100)
    assert windows == DecoderWindows(Window(0, 3), (StageWindow(0, 0, 5), StageWindow(0, 1, 12)), Window(0, 100))
    decoder = Decoder(
        (Score("c5", "a"),), (Stage(Resize("nearest"), Skip("c4", "b")),), Deconvolution("last", 4, 2), crop=7
    )
    windows = decoder_windows(decoder, {"c5": 5, "c4": 9}, image=2)
    assert windows == DecoderWindows(Window(0, 5), (StageWindow(0, 0, 9),), Window(7, 2))


def test_a_map_that_is_too_small_is_refused() -> None:
    decoder = DECODERS["FCN32s"]
    assert decoder_windows(decoder, {"fc7": 1}, 45).final == Window(19, 45)
    message = "46 pixels from 19 on do not fit into 64 upsampled scores; expected a coarsest map of more than 1 entries"
    with pytest.raises(ValueError, match=re.escape(message)):
        decoder_windows(decoder, {"fc7": 1}, 46)
