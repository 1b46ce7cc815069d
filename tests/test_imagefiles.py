"""Image files: what is not one, or is cut short, damaged or too large, is an ImageError; PNGs are whole."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fcnrt.errors import ImageError, InputError
from fcnrt.imagefiles import write_png
from fcnrt.images import read_image

Y, X = np.mgrid[0:23, 0:31]
PHOTO = np.stack([8 * X, 10 * Y, 4 * (X + Y)], axis=-1).astype(np.uint8)


def encode(pixels: npt.NDArray[np.uint8], file_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, file_format, **options)
    return stream.getvalue()


FILES = [
    (b"", "empty"),
    (b"<!DOCTYPE html><html>Not found</html>", "an HTML page"),
    (b"hello, this is text\n", "a text file"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull"),
    (b"%PDF-1.7\n", "a PDF document"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a PostScript document"),
    (b"8BPS\0\1" + bytes(20), "a Photoshop document"),
    (b"P6 2 2 255\n" + b"\xff" * 12, "not an image file"),
    (b"\xff\xd8\xff\xe0 nothing more", "a damaged JPEG file"),
    (b"\x89PNG\r\n\x1a\n nothing more", "a damaged PNG file"),
    (bytes(100), "begins with 00 00 00"),
]


@pytest.mark.parametrize(("data", "message"), FILES, ids=[message for _, message in FILES])
def test_files_that_are_no_images_are_named_and_described(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "odd.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=f"odd\\.jpg: is .*{message}"):
        read_image(path)


def test_paths_that_cannot_be_opened_are_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    cases: list[tuple[str | Path, str]] = [
        (tmp_path / "none.jpg", "none.jpg: does not exist; check the path"),
        (tmp_path, "is a folder"),
        (tmp_path / "pipe.png", "pipe.png: is not a regular file"),
        ("https://example.org/a.jpg", "download it first"),
        ("a\0b.png", "cannot be opened"),
        ("x" * 5000, "cannot be opened"),
    ]
    for path, message in cases:
        with pytest.raises(ImageError, match=message):
            read_image(path)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_a_truncated_file_is_an_image_error(tmp_path: Path, file_format: str) -> None:
    data = encode(PHOTO, file_format)
    path = tmp_path / "cut.img"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match=r"cut\.img: .*get the file anew|cut\.img: is a damaged"):
        read_image(path)


def bomb(width: int, height: int) -> bytes:
    """A small PNG file whose header claims ``width`` by ``height`` pixels."""
    sound = encode(PHOTO, "PNG")
    header = b"IHDR" + struct.pack(">II", width, height) + sound[24:29]
    return sound[:12] + header + struct.pack(">I", zlib.crc32(header)) + sound[33:]


def test_the_pixel_limit_holds_before_anything_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(9000, 9000))
    with pytest.raises(ImageError, match=r"bomb\.png: is 9000x9000, 81000000 pixels; the limit is 1000000"):
        read_image(path, max_pixels=1_000_000)
    with pytest.raises(ImageError, match=r"bomb\.png: holds more pixels than Pillow lets through"):
        path.write_bytes(bomb(60000, 60000))
        read_image(path)
    with pytest.raises(ImageError, match="31x23"):
        read_image(Image.fromarray(PHOTO), max_pixels=712)
    assert read_image(encode(PHOTO, "PNG"), max_pixels=713).shape == (23, 31, 3)
    with pytest.raises(InputError, match="max_pixels is 0"):
        read_image(PHOTO, max_pixels=0)


def test_a_file_far_larger_than_its_pixels_can_need_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "endless.webp"
    with path.open("wb") as stream:
        stream.write(b"RIFF\xff\xff\xff\x7fWEBPVP8X")
        stream.truncate(1 << 40)  # sparse
    with pytest.raises(ImageError, match=f"is {1 << 40} bytes, more than an image of"):
        read_image(path)
    with open("/dev/zero", "rb") as endless, pytest.raises(ImageError, match="more than an image of 100"):
        read_image(endless, max_pixels=100)


SAMPLES: dict[str, dict[str, Any]] = {
    "JPEG": {},
    "PNG": {},
    "WEBP": {},
    "BMP": {},
    "TIFF": {"compression": "tiff_lzw"},
    "GIF": {},
}


@pytest.mark.filterwarnings("ignore")  # Pillow warns of broken metadata
@pytest.mark.parametrize("file_format", SAMPLES)
def test_damaged_bytes_raise_nothing_but_image_errors(file_format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    metadata = {} if file_format in ("BMP", "GIF") else {"exif": exif}
    sound = encode(PHOTO, file_format, **metadata, **SAMPLES[file_format])
    generator = random.Random(file_format)
    read = refused = 0
    for _ in range(400):
        data = bytearray(sound)
        for _ in range(generator.choice([1, 1, 4, 16])):
            # Headers decide most, so half of the damage goes there.
            end = len(data) if generator.random() < 0.5 else min(64, len(data))
            data[generator.randrange(end)] = generator.choice([0, 1, 0x7F, 0xFF, generator.randrange(256)])
        if generator.random() < 0.3:
            del data[generator.randrange(len(data)) :]
        try:
            image = read_image(bytes(data), max_pixels=200_000)
        except ImageError as error:
            refused += 1
            assert str(error).startswith("image bytes: ")
        else:
            read += 1
            assert image.ndim == 3 and image.shape[2] == 3 and 0 < image.size <= 600_000
    assert refused > 50 and read > 10


def test_many_threads_may_read() -> None:
    data = [encode(PHOTO, file_format) for file_format in ("PNG", "BMP", "TIFF")]
    limit = Image.MAX_IMAGE_PIXELS
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(read_image, data * 40))
    assert all((image == PHOTO).all() for image in images)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_write_png_is_whole_or_not_at_all(tmp_path: Path) -> None:
    class Failing(Image.Image):
        def save(self, fp: Any, format: str | None = None, **params: Any) -> None:
            fp.write(b"half")
            raise OSError(28, "No space left on device")

    path = tmp_path / "new" / "photo.PNG"
    write_png(Image.fromarray(PHOTO), path)
    with pytest.raises(InputError, match=r"photo\.PNG: could not be written \(No space left on device\)"):
        write_png(Failing(), path)
    assert (read_image(path) == PHOTO).all()
    assert os.listdir(path.parent) == ["photo.PNG"]
    with pytest.raises(InputError, match=r"photo\.jpg: only PNG files are written"):
        write_png(Image.fromarray(PHOTO), path.with_suffix(".jpg"))
    with pytest.raises(InputError, match="could not be written"):
        write_png(Image.fromarray(PHOTO), path / "below-a-file.png")
