"""Images in: whatever a user holds becomes one RGB array, and folders and patterns become lists of files."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from fcnrt.errors import ImageError, InputError
from fcnrt.imagefiles import FORMAT_NAMES, MAX_PIXELS, SUFFIXES, load_image, max_file_bytes, open_image
from fcnrt.rgb import Pixels, from_array, from_pil, from_tensor

__all__ = ["MAX_PIXELS", "ImageSource", "list_images", "read_image"]

ImageSource: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | npt.NDArray[Any] | torch.Tensor
)

_READ_BYTES = 1 << 20


def read_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Read one image as a writable, contiguous uint8 array [H, W, 3] in RGB order that shares no memory.

    Files and PIL images are turned as their EXIF orientation says. Transparency is composited on white, as a
    viewer shows it. Sixteen-bit samples keep their high byte, as Pillow reads 16-bit RGB; integer pixels of
    32 bits are taken as 16-bit values. Colour profiles are not applied.

    Args:
        source: One of

            * a path, bytes or a binary file: JPEG, PNG, WebP, BMP, TIFF or GIF, told apart by content. The
              first frame of an animation is read; a file that can seek is read from its start.
            * a PIL image: the frame that it stands at.
            * a uint8 array [H, W, 3] in **RGB** order (OpenCV's is BGR: pass ``image[..., ::-1]``), grey
              [H, W] or [H, W, 1], or RGBA [H, W, 4].
            * a uint8 RGB tensor [3, H, W] on any device.
        max_pixels: The most that files, bytes and PIL images may hold, checked before they are decoded.
            Pillow has a process-wide limit too, ``PIL.Image.MAX_IMAGE_PIXELS``: to read more than the
            default, raise both.

    Raises:
        ImageError: It is anything else; the message names the file.
        InputError: ``max_pixels`` is below 1.
    """
    if max_pixels < 1:
        raise InputError(f"max_pixels is {max_pixels}; expected at least 1")
    if isinstance(source, np.ndarray):
        return from_array(source)
    if isinstance(source, torch.Tensor):
        return from_tensor(source)
    if isinstance(source, Image.Image):
        name = str(getattr(source, "filename", "")) or "PIL image"
        load_image(source, name, max_pixels)
        return from_pil(source, name)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(BytesIO(source), "image bytes", max_pixels)
    if isinstance(source, (str, os.PathLike)):
        with _open_file(source) as stream:
            return _decode(stream, str(source), max_pixels)
    if hasattr(source, "read"):
        name = str(getattr(source, "name", "")) or "image file"
        return _decode(_hold(source, name, max_pixels), name, max_pixels)
    raise ImageError(
        f"found {type(source).__name__}; expected a path, bytes, a binary file, a PIL image, a uint8 RGB "
        "array [H, W, 3] or a uint8 tensor [3, H, W]"
    )


def list_images(sources: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The image files that ``sources`` name, each once, in the order of ``sources``.

    A file stands for itself, whatever its suffix, and a missing one too: ``read_image`` reports it. A folder
    stands for the image files in it, recursively and sorted; hidden files and folders are left out, symbolic
    links to folders are not followed. A pattern (``*``, ``?``, ``[...]``, ``**``) stands for the files that
    it matches, sorted; where it names no suffix, for the image files among them.

    Raises:
        ImageError: A folder holds no image or cannot be listed, or a pattern matches nothing.
    """
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    return list(dict.fromkeys(path for source in sources for path in _expand(os.fspath(source))))


def _decode(stream: IO[bytes], name: str, max_pixels: int) -> Pixels:
    return from_pil(open_image(stream, name, max_pixels), name)


def _open_file(source: str | os.PathLike[str]) -> IO[bytes]:
    try:
        kind = os.stat(source).st_mode
        if stat.S_ISREG(kind):
            return open(source, "rb")
    except FileNotFoundError:
        hint = "fcnrt reads local files, so download it first" if "://" in str(source) else "check the path"
        raise ImageError(f"{source}: does not exist; {hint}") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{source}: cannot be opened ({reason}); check the path") from error
    if stat.S_ISDIR(kind):
        raise ImageError(f"{source}: is a folder; expected an image file. Pass the files in it, as a list")
    # Not opened: a pipe that nobody writes to would be waited for without end.
    raise ImageError(f"{source}: is not a regular file; read its bytes and pass those")


def _hold(stream: IO[bytes], name: str, max_pixels: int) -> BytesIO:
    """What ``stream`` holds, up to the limit: in memory, since not every stream can seek as decoders must."""
    limit = max_file_bytes(max_pixels)
    held = BytesIO()
    try:
        if stream.seekable():
            stream.seek(0)
        while held.tell() <= limit and (piece := stream.read(_READ_BYTES)):
            held.write(piece)
    except Exception as error:
        raise ImageError(f"{name}: cannot be read ({error}); expected a file opened in mode 'rb'") from error
    return held


def _expand(source: str) -> Iterator[Path]:
    if os.path.isdir(source):
        found = list(_walk(source))
        if not found:
            raise ImageError(f"{source}: the folder holds no image; expected {FORMAT_NAMES} files in it")
        yield from found
    elif os.path.lexists(source) or not glob.has_magic(source):
        yield Path(source)
    else:
        suffix = os.path.splitext(source)[1]
        names_suffix = bool(suffix) and not glob.has_magic(suffix)
        files = filter(os.path.isfile, glob.iglob(source, recursive=True))
        matches = sorted(Path(file) for file in files if names_suffix or _is_image_name(file))
        if not matches:
            raise ImageError(f"{source}: the pattern matches no image file; check folder and spelling")
        yield from matches


def _walk(folder: str) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise ImageError(f"{error.filename}: the folder cannot be listed ({error.strerror})") from error

    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if _is_image_name(name) and not name.startswith("."):
                yield Path(parent, name)


def _is_image_name(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES
