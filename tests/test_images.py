"""Images in: every format and mode and every kind of source become the same pixels, or a named refusal."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, ImageOps

from fcnrt.errors import ImageError
from fcnrt.images import ImageSource, list_images, read_image

Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def photo() -> Pixels:
    """A smooth 23x31 picture with no symmetry, so that a turned or mirrored one differs."""
    y, x = np.mgrid[0:23, 0:31]
    return np.stack([8 * x, 10 * y, 4 * (x + y)], axis=-1).astype(np.uint8)


def encode(image: Image.Image | npt.NDArray[Any], file_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, file_format, **options)
    return stream.getvalue()


def png(width: int, height: int, depth: int, color: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG file byte by byte, for the kinds that Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    middle = b"".join(chunk(part[:4], part[4:]) for part in extra)
    return b"\x89PNG\r\n\x1a\n" + header + middle + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "BMP": {},
    "TIFF": {"compression": "tiff_lzw"},
}


@pytest.mark.parametrize("file_format", LOSSLESS)
def test_lossless_formats_are_read_exactly(photo: Pixels, file_format: str) -> None:
    image = read_image(encode(photo, file_format, **LOSSLESS[file_format]))
    assert (image == photo).all()
    assert image.dtype == np.uint8 and image.flags.c_contiguous and image.flags.writeable


def test_jpeg_and_gif_are_read_closely(photo: Pixels) -> None:
    for data in (encode(photo, "JPEG", quality=95, subsampling=0), encode(photo, "GIF")):
        assert np.abs(read_image(data).astype(int) - photo).mean() < 4


def test_every_kind_of_source_gives_the_same_pixels(photo: Pixels, tmp_path: Path) -> None:
    data = encode(photo, "PNG")
    path = tmp_path / "photo.jpg"  # the content decides, not the name
    path.write_bytes(data)
    read_to_end = io.BytesIO(data)
    read_to_end.seek(0, os.SEEK_END)
    sources: list[ImageSource] = [
        path,
        str(path),
        data,
        bytearray(data),
        memoryview(data),
        read_to_end,
        Image.open(path),
        Image.fromarray(photo),
        photo,
        photo[:, ::-1][:, ::-1],
        torch.from_numpy(photo).permute(2, 0, 1),
    ]
    for source in sources:
        image = read_image(source)
        assert (image == photo).all(), source
        assert image.flags.c_contiguous and image.flags.writeable
        image[:] = 0  # must not reach the source
    assert photo.any()
    with path.open("rb") as stream:
        assert (read_image(stream) == photo).all()


def test_a_stream_that_cannot_seek_is_read(photo: Pixels) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as stream:
        stream.write(encode(photo, "PNG"))
    with os.fdopen(reader, "rb") as stream:
        assert (read_image(stream) == photo).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_exif_orientation_is_applied(photo: Pixels, orientation: int, file_format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"lossless": True} if file_format == "WEBP" else {}
    data = encode(photo, file_format, exif=exif, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert expected.shape[:2] == ((23, 31) if orientation < 5 else (31, 23))
    image = read_image(data)
    assert (image == expected).all() and image.flags.c_contiguous
    assert (read_image(Image.open(io.BytesIO(data))) == expected).all()


def test_a_broken_exif_block_does_not_cost_the_picture(photo: Pixels) -> None:
    assert (read_image(encode(photo, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")) == photo).all()


MODES = ["1", "L", "P", "LA", "PA", "La", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "I", "I;16"]
GREY_MODES = {"1", "L", "LA", "La", "I", "I;16"}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_rgb(photo: Pixels, mode: str) -> None:
    rgb = Image.fromarray(photo)
    expected = np.asarray(rgb.convert("L").convert("RGB") if mode in GREY_MODES else rgb).astype(int)
    if mode in ("I", "I;16"):
        samples = np.asarray(rgb.convert("L")).astype("<i4" if mode == "I" else "<u2") * 257
        image = Image.frombytes(mode, rgb.size, samples.tobytes())
    elif mode in ("P", "PA"):
        image = rgb.convert("P", palette=Image.Palette.ADAPTIVE).convert(mode)
    else:
        step = {"La": "LA", "RGBa": "RGBA"}.get(mode)
        image = (rgb.convert(step) if step else rgb).convert(mode)
    result = read_image(image)
    assert result.shape == photo.shape
    assert np.abs(result - expected).mean() <= (128 if mode == "1" else 8)


def test_cmyk_jpeg_and_tiff(photo: Pixels) -> None:
    cmyk = Image.fromarray(photo).convert("CMYK")
    for data in (encode(cmyk, "JPEG", quality=98, subsampling=0), encode(cmyk, "TIFF")):
        assert np.abs(read_image(data).astype(int) - photo).mean() < 6


def test_transparency_is_composited_on_white(photo: Pixels) -> None:
    alpha = np.zeros(photo.shape[:2], np.uint8)
    alpha[:, 5:] = 255
    alpha[:, 10:] = 128
    rgba = np.dstack([photo, alpha])
    share = alpha[..., None] / 255
    expected = photo * share + 255 * (1 - share)
    webp = encode(rgba, "WEBP", lossless=True, exact=True)
    for source in (rgba, rgba[::-1][::-1], Image.fromarray(rgba), encode(rgba, "PNG"), webp):
        assert np.abs(read_image(source) - expected).max() <= 1
    grey = Image.fromarray(rgba).convert("LA")
    assert (read_image(grey)[:, :5] == 255).all()
    assert (read_image(encode(grey, "PNG"))[:, :5] == 255).all()


def test_transparent_colours_and_palette_entries_become_white(photo: Pixels) -> None:
    indexed = Image.fromarray((np.arange(24, dtype=np.uint8) % 3).reshape(4, 6))
    indexed.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    first, second, third = [255, 255, 255], [40, 50, 60], [70, 80, 90]
    for data in (
        encode(indexed, "GIF", transparency=0),
        encode(indexed, "PNG", transparency=0),
        encode(indexed, "PNG", transparency=b"\0\xff"),
    ):
        assert read_image(data)[0, :3].tolist() == [first, second, third]
    assert (read_image(encode(photo, "PNG", transparency=(0, 0, 0)))[0, 0] == 255).all()
    grey = encode(photo[..., 0], "PNG", transparency=0)
    assert (read_image(grey)[:, 0] == 255).all() and (read_image(grey)[:, 1] == 8).all()


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(file_format: str) -> None:
    values = np.linspace(0, 65535, 24 * 16).reshape(16, 24).astype(np.uint16)
    image = read_image(encode(values, file_format))
    assert (image == (values >> 8)[..., None]).all()
    assert image.min() == 0 and image.max() == 255 and image[..., 0].mean() == pytest.approx(127.5, abs=0.6)


def test_sixteen_bit_big_endian_grey_and_signed_pixels() -> None:
    values = np.array([[0, 300, 40000, 65535]], np.uint16)
    tiff = b"MM\0*\0\0\0\x10" + values.byteswap().tobytes()
    tags = [(256, 3, 4 << 16), (257, 3, 1 << 16), (258, 3, 16 << 16), (259, 3, 1 << 16), (262, 3, 1 << 16)]
    tags += [(273, 4, 8), (277, 3, 1 << 16), (278, 3, 1 << 16), (279, 4, 8)]
    entries = b"".join(struct.pack(">HHII", tag, kind, 1, value) for tag, kind, value in tags)
    data = tiff + struct.pack(">H", len(tags)) + entries + b"\0\0\0\0"
    assert Image.open(io.BytesIO(data)).mode == "I;16B"
    assert read_image(data)[0, :, 0].tolist() == [0, 1, 156, 255]
    with pytest.raises(ImageError, match="integer pixels from -5 to 9; expected 16-bit values"):
        read_image(Image.fromarray(np.array([[-5, 9]], np.int32)))


@pytest.mark.parametrize(("color", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_sixteen_bit_colour_png(color: int, channels: int) -> None:
    values = np.linspace(0, 65535, 7 * channels).reshape(1, 7, channels).astype(">u2")
    if color != 2:
        values[..., -1] = 65535
    image = read_image(png(7, 1, 16, color, b"\0" + values.tobytes()))
    assert (image == (values >> 8)[..., : 1 if color == 4 else 3]).all()


def test_transparent_colour_of_a_sixteen_bit_png_is_sixteen_bit_too() -> None:
    values = np.array([[[40000, 300, 65535], [1000, 2000, 3000]]], ">u2")
    data = png(2, 1, 16, 2, b"\0" + values.tobytes(), b"tRNS" + values[0, 0].tobytes())
    assert read_image(data).tolist() == [[[255, 255, 255], [3, 7, 11]]]
    grey = png(2, 1, 16, 0, b"\0" + values[0, :, 0].tobytes(), b"tRNS" + values[0, 0, :1].tobytes())
    assert read_image(grey)[0, :, 0].tolist() == [255, 3]


def test_floating_point_pixels_are_refused_by_name() -> None:
    floats = Image.fromarray(np.zeros((2, 2), np.float32))
    for source in (floats, encode(floats, "TIFF")):
        with pytest.raises(ImageError, match="floating-point pixels \\(mode F\\)"):
            read_image(source)


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_an_animation_is_read(file_format: str) -> None:
    frames = [Image.new("RGB", (6, 5), color) for color in ("red", "lime", "blue")]
    options: dict[str, Any] = {"lossless": True} if file_format == "WEBP" else {}
    data = encode(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    assert (read_image(data) == (255, 0, 0)).all()


ARRAYS = [
    (np.zeros((4, 5, 3), np.float32), "array of float32 \\[4, 5, 3\\].*\\(image \\* 255\\).round\\(\\)"),
    (np.zeros((4, 5, 3), np.uint16), "array of uint16.*image >> 8"),
    (np.zeros((4, 5), bool), "array of bool"),
    (np.zeros((4, 5, 2), np.uint8), "uint8 \\[4, 5, 2\\]; expected uint8 \\[H, W, 3\\]"),
    (np.zeros((4, 7, 5), np.uint8), "uint8 \\[4, 7, 5\\]"),
    (np.zeros((3, 4, 5), np.uint8), "look like \\[C, H, W\\]"),
    (np.zeros((2, 4, 5, 3), np.uint8), "batch as a list"),
    (np.zeros((0, 5, 3), np.uint8), "no pixels"),
    (np.zeros((5, 0), np.uint8), "no pixels"),
    (np.zeros(5, np.uint8), "uint8 \\[5\\]"),
    (torch.zeros(3, 4, 5), "tensor of float32 \\[3, 4, 5\\].*torch.uint8"),
    (torch.zeros(4, 5, 3, dtype=torch.uint8), "look like \\[H, W, C\\]"),
    (torch.zeros(1, 3, 4, 5, dtype=torch.uint8), "one by one"),
    (torch.zeros(3, 0, 5, dtype=torch.uint8), "no pixels"),
    (Image.new("RGB", (0, 3)), "no pixels \\(0x3\\)"),
    (None, "found NoneType; expected a path"),
    (io.StringIO("text"), "mode 'rb'"),
]


@pytest.mark.parametrize(("source", "message"), ARRAYS)
def test_what_is_not_one_image_is_refused_with_a_remedy(source: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        read_image(source)


def test_grey_arrays_are_repeated() -> None:
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    for source in (grey, grey[..., None]):
        assert (read_image(source) == grey[..., None]).all() and read_image(source).shape == (2, 3, 3)


def test_list_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [
        "b.JPG",
        "a.png",
        "sub/c.webp",
        "sub/.hidden.png",
        ".git/d.png",
        "notes.txt",
        "x[1].dat",
        "e.dat",
    ]
    for name in names:
        path = Path(name)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    Path("empty").mkdir()
    Path("sub/loop").symlink_to(tmp_path)

    def listed(*sources: str) -> list[str]:
        return [str(path) for path in list_images(sources)]

    assert listed(".") == ["a.png", "b.JPG", "sub/c.webp"]
    Path("sub/loop").unlink()
    assert listed("missing.jpg", "notes.txt") == ["missing.jpg", "notes.txt"]
    assert listed("*") == ["a.png", "b.JPG"]
    assert listed("*.dat") == ["e.dat", "x[1].dat"]
    assert listed("x[1].dat") == ["x[1].dat"]
    assert listed("su*/*.webp", "sub/c.webp") == ["sub/c.webp"]
    assert listed("sub/**") == ["sub/c.webp"]
    assert [str(path) for path in list_images("a.png")] == ["a.png"]
    assert list_images([]) == []
    with pytest.raises(ImageError, match="empty: the folder holds no image"):
        list_images(["a.png", "empty"])
    with pytest.raises(ImageError, match=r"\*\.bmp: the pattern matches no image"):
        list_images(["*.bmp"])
