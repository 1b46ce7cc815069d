"""Images in: whatever a user holds becomes one RGB array or depth map; folders and patterns become lists of files."""

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

__all__ = [
    "MAX_PIXELS",
    "Depth",
    "ImageSource",
    "is_several",
    "list_images",
    "pair_up",
    "read_depth",
    "read_image",
    "resize_map",
    "size_for",
]

ImageSource: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | npt.NDArray[Any] | torch.Tensor
)

Depth: TypeAlias = npt.NDArray[np.float32]

_READ_BYTES = 1 << 20
_DEPTH_EXPECTED = "expected depth in millimetres, more than 0 everywhere: 16-bit grey, or an array or tensor [H, W]"


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
    _check_limit(max_pixels)
    if isinstance(source, np.ndarray):
        return from_array(source)
    if isinstance(source, torch.Tensor):
        return from_tensor(source)
    return from_pil(*_open(source, max_pixels, "a uint8 RGB array [H, W, 3] or a uint8 tensor [3, H, W]"))


def read_depth(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Depth:
    """Read one depth map as a float32 array [H, W] in millimetres that shares no memory.

    Args:
        source: One of

            * a path, bytes, a binary file or a PIL image of 16-bit grey, as NYUDv2's filled-in depth is kept.
            * an array or a tensor [H, W], or [H, W, 1] and [1, H, W], of any type of number.
        max_pixels: As for :func:`read_image`.

    Raises:
        ImageError: It is anything else, or some depth is unknown: zero, negative or not finite. Networks take the
            logarithm.
        InputError: ``max_pixels`` is below 1.
    """
    _check_limit(max_pixels)
    if isinstance(source, torch.Tensor):
        name, values = "depth tensor", source.detach().cpu().numpy()
        values = values[0] if values.ndim == 3 and len(values) == 1 else values
    elif isinstance(source, np.ndarray):
        name, values = "depth array", source
        values = values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values
    else:
        image, name = _open(source, max_pixels, "an array or a tensor [H, W]")
        if image.mode != "F" and not image.mode.startswith("I"):
            raise ImageError(f"{name}: is of mode {image.mode}, 8 bits a sample; {_DEPTH_EXPECTED}")
        values = np.asarray(image)
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "uif":
        raise ImageError(f"{name}: is {values.dtype} {list(values.shape)}; {_DEPTH_EXPECTED}")
    depth = values.astype(np.float32)
    unknown = int(depth.size - np.count_nonzero(np.isfinite(depth) & (depth > 0)))
    if unknown:
        raise ImageError(f"{name}: {unknown} of {depth.size} pixels have no depth; {_DEPTH_EXPECTED}. Fill them in")
    return depth


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


def is_several(image: Any) -> bool:
    if isinstance(image, torch.Tensor):
        return image.ndim == 4
    single = (str, bytes, bytearray, memoryview, os.PathLike, np.ndarray, Image.Image)
    return isinstance(image, Iterable) and not isinstance(image, single) and not hasattr(image, "read")


def pair_up(images: Iterable[Any], beside: Any) -> Iterable[tuple[Any, Any]]:
    """Each image with what is beside it."""
    if beside is None:
        return ((image, None) for image in images)
    if not is_several(beside):
        raise InputError(f"several images, and beside them one {type(beside).__name__}; expected as many as images")
    images, companions = list(images), list(beside)
    if len(images) != len(companions):
        raise InputError(f"{len(images)} images, and {len(companions)} beside them; expected as many as images")
    return zip(images, companions, strict=True)


def size_for(height: int, width: int, shorter: int) -> tuple[int, int]:
    """Rows and columns with the shorter side at ``shorter``, by torchvision's rule."""
    longer = int(shorter * max(height, width) / min(height, width))
    return (longer, shorter) if width <= height else (shorter, longer)


def resize_map(image: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """``image`` at ``size`` rows and columns, as torchvision's presets do it: bilinear with antialiasing."""
    if image.shape[:2] == size:
        return image
    return np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR), dtype=image.dtype)


def _check_limit(max_pixels: int) -> None:
    if max_pixels < 1:
        raise InputError(f"max_pixels is {max_pixels}; expected at least 1")


def _open(source: Any, max_pixels: int, otherwise: str) -> tuple[Image.Image, str]:
    """The decoded image, and what errors call it; ``otherwise`` says what else the caller would have taken."""
    if isinstance(source, Image.Image):
        name = str(getattr(source, "filename", "")) or "PIL image"
        load_image(source, name, max_pixels)
        return source, name
    if isinstance(source, (bytes, bytearray, memoryview)):
        return open_image(BytesIO(source), "image bytes", max_pixels), "image bytes"
    if isinstance(source, (str, os.PathLike)):
        with _open_file(source) as stream:
            return open_image(stream, str(source), max_pixels), str(source)
    if hasattr(source, "read"):
        name = str(getattr(source, "name", "")) or "image file"
        return open_image(_hold(source, name, max_pixels), name, max_pixels), name
    raise ImageError(f"found {type(source).__name__}; expected a path, bytes, a binary file, a PIL image, {otherwise}")


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
