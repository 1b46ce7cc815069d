"""Image files on disk: which formats are read, how large they may be, and how a PNG is written.

Files are recognised by their content, never by their suffix. The size in the header is checked before a
pixel is decoded, and whatever a damaged or hostile file makes the decoder raise arrives as ``ImageError``.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

from fcnrt.errors import ImageError, InputError

MAX_PIXELS = 178_956_970
"""Largest image read by default: the size at which Pillow itself takes a file for a decompression bomb."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
FORMAT_NAMES = "JPEG, PNG, WebP, BMP, TIFF or GIF"
SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".tif", ".tiff", ".gif"})

# What people hand over by mistake, by how the file begins: (offset, signature, what it is).
_SIGNATURES = (
    (0, b"\xff\xd8\xff", "a damaged JPEG file"),
    (0, b"\x89PNG", "a damaged PNG file"),
    (8, b"WEBP", "a damaged WebP file"),
    (0, b"BM", "a damaged BMP file"),
    (0, b"II*\0", "a damaged TIFF file"),
    (0, b"MM\0*", "a damaged TIFF file"),
    (0, b"GIF8", "a damaged GIF file"),
    (4, b"ftypavif", "an AVIF image"),
    (4, b"ftyphei", "a HEIC image"),
    (4, b"ftypmif1", "a HEIC image"),
    (4, b"ftyp", "an MP4 or MOV video"),
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript document"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\0\0\0\x0cjP", "a JPEG 2000 image"),
    (0, b"version https://git-lfs", "a Git LFS pointer (run `git lfs pull`)"),
    (0, b"PK\3\4", "a zip archive or a PyTorch checkpoint"),
    (0, b"\x93NUMPY", "a NumPy array (read it with numpy.load)"),
)
_SNIFF_BYTES = 64
# An image file is at most 16-bit RGBA without compression, and whatever metadata it carries.
_BYTES_PER_PIXEL = 8
_METADATA_BYTES = 1 << 26


def max_file_bytes(max_pixels: int) -> int:
    """The most bytes that a file of ``max_pixels`` pixels can need; a larger one is not read into memory."""
    return _BYTES_PER_PIXEL * max_pixels + _METADATA_BYTES


def check_pixels(size: tuple[int, int], name: str, max_pixels: int) -> None:
    """Raise ``ImageError`` for a ``size`` (width, height) that is empty or holds more than ``max_pixels``."""
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name}: has no pixels ({width}x{height}); expected at least 1x1")
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: is {width}x{height}, {width * height} pixels; the limit is {max_pixels}. "
            "Shrink it or cut it into tiles, or raise max_pixels for a file you trust"
        )


def open_image(stream: IO[bytes], name: str, max_pixels: int) -> Image.Image:
    """Decode the first frame of the image in ``stream``, a seekable file; ``name`` is what errors call it.

    Raises:
        ImageError: It is not a sound file of one of ``FORMATS``, or not within ``max_pixels``.
    """
    beginning = _check_bytes(stream, name, max_pixels)
    try:
        image = Image.open(stream, formats=FORMATS)
    except UnidentifiedImageError:
        raise ImageError(f"{name}: is {_describe(beginning)}; expected a whole {FORMAT_NAMES} image") from None
    except Exception as error:
        raise _unreadable(f"{name}: is {_describe(beginning)}", name, error) from error
    load_image(image, name, max_pixels)
    return image


def load_image(image: Image.Image, name: str, max_pixels: int) -> None:
    """Decode the pixels of an opened ``image`` if the size in its header is within ``max_pixels``."""
    check_pixels(image.size, name, max_pixels)
    try:
        image.load()
    except Exception as error:
        found = f"{name}: is a {image.format or 'PIL'} image that cannot be decoded"
        raise _unreadable(found, name, error) from error


def write_png(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write ``image`` to ``path`` as PNG: whole or not at all. The folder is created where it is missing.

    Raises:
        InputError: The suffix is not .png, or the system refuses the file.
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise InputError(f"{target}: only PNG files are written; expected a name that ends in .png")
    temporary = target.with_name(f".fcnrt-{os.getpid()}-{secrets.token_hex(6)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as stream:
                image.save(stream, format="PNG")
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{target}: could not be written ({error.strerror or error}); choose a file in a folder "
            "that can be written to"
        ) from error


def _check_bytes(stream: IO[bytes], name: str, max_pixels: int) -> bytes:
    """The first bytes of ``stream``, once it is known to be neither empty nor beyond all bounds."""
    length = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if length == 0:
        raise ImageError(f"{name}: is empty (0 bytes); expected a {FORMAT_NAMES} image")
    if length > max_file_bytes(max_pixels):
        raise ImageError(
            f"{name}: is {length} bytes, more than an image of {max_pixels} pixels can need; "
            "raise max_pixels for a file you trust"
        )
    return stream.read(_SNIFF_BYTES)


def _describe(beginning: bytes) -> str:
    for offset, signature, description in _SIGNATURES:
        if beginning.startswith(signature, offset):
            return description
    text = beginning.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "an HTML page (a download that failed?)"
    if text.startswith((b"<svg", b"<?xml")):
        return "an SVG or XML document"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in beginning):
        return "a text file"
    return f"not an image file (it begins with {beginning[:8].hex(' ')})"


def _unreadable(found: str, name: str, error: Exception) -> ImageError:
    """The ``ImageError`` for what Pillow raised: its decoders answer bad bytes with any exception type."""
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return ImageError(
            f"{name}: holds more pixels than Pillow lets through ({error}). Shrink it or cut it into tiles, "
            "or raise PIL.Image.MAX_IMAGE_PIXELS for a file you trust"
        )
    if isinstance(error, MemoryError):
        return ImageError(f"{name}: does not fit in memory; shrink it or cut it into tiles")
    reason = str(error) or type(error).__name__
    return ImageError(f"{found} ({reason}); it may be damaged or cut short, so get the file anew")
