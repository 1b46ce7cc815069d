"""Pixels of every kind to one kind: uint8 [H, W, 3] in RGB order, writable, contiguous, sharing no memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import ExifTags, Image

from fcnrt.errors import ImageError

Pixels: TypeAlias = npt.NDArray[np.uint8]

# EXIF orientation (CIPA DC-008, tag 0x0112) -> what turns the stored picture into the displayed one.
_UPRIGHT: Mapping[int, Callable[[Pixels], Pixels]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: image.transpose(1, 0, 2)[:, ::-1],
    7: lambda image: image.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda image: image.transpose(1, 0, 2)[::-1],
}
_ALPHA_MODES = frozenset({"RGBA", "RGBa", "LA", "La", "PA"})
_KEYED_MODES = frozenset({"1", "L", "P", "RGB"})  # one colour, or palette entries, may be transparent

_ARRAY_EXPECTED = "expected uint8 [H, W, 3] in RGB order, grey [H, W] or [H, W, 1], or RGBA [H, W, 4]"
_TENSOR_EXPECTED = "expected a uint8 RGB tensor [3, H, W]"
_ARRAY_REMEDY = {
    "f": "; for values in 0..1 pass (image * 255).round().astype(np.uint8)",
    "u": "; for 16-bit values pass (image >> 8).astype(np.uint8)",
    "b": "; pass image.astype(np.uint8) * 255",
}


def from_pil(image: Image.Image, name: str) -> Pixels:
    """A loaded PIL image in any mode but F, upright and on white; ``name`` is for error messages.

    Modes of more than 8 bits keep their high byte. ``Image.convert`` would clip them to white.
    """
    if image.mode == "F":
        raise ImageError(
            f"{name}: has floating-point pixels (mode F), whose range is not known; scale them to 0..255 and "
            "pass a uint8 array"
        )
    try:
        pixels = _from_integers(image, name) if image.mode.startswith("I") else _from_colors(image)
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"{name}: mode {image.mode} cannot be converted to RGB ({error})") from error
    turn = _UPRIGHT.get(_orientation(image))
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))


def from_array(array: npt.NDArray[Any]) -> Pixels:
    """A uint8 array [H, W, 3], [H, W], [H, W, 1] or [H, W, 4]; ``ImageError`` for any other."""
    found = f"found an array of {array.dtype} {list(array.shape)}"
    if array.dtype != np.uint8:
        raise ImageError(f"{found}; {_ARRAY_EXPECTED}{_ARRAY_REMEDY.get(array.dtype.kind, '')}")
    shape = array.shape if array.ndim != 2 else (*array.shape, 1)
    if len(shape) != 3 or shape[2] not in (1, 3, 4):
        remedy = ""
        if len(shape) == 3 and shape[0] in (1, 3, 4):
            remedy = "; the axes look like [C, H, W], so pass image.transpose(1, 2, 0)"
        elif len(shape) == 4:
            remedy = "; pass the images of a batch as a list"
        raise ImageError(f"{found}; {_ARRAY_EXPECTED}{remedy}")
    if array.size == 0:
        raise ImageError(f"{found}, which has no pixels; expected at least 1x1")
    if shape[2] == 4:
        return np.array(_on_white(Image.fromarray(np.ascontiguousarray(array))))
    if shape[2] == 1:
        return np.repeat(array.reshape(shape), 3, axis=2)
    return np.array(array, order="C")


def from_tensor(tensor: torch.Tensor) -> Pixels:
    """A uint8 tensor [3, H, W] on any device; ``ImageError`` for any other."""
    found = f"found a tensor of {str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
    if tensor.dtype != torch.uint8:
        remedy = ""
        if tensor.is_floating_point():
            remedy = "; for values in 0..1 pass (image * 255).round().to(torch.uint8)"
        raise ImageError(f"{found}; {_TENSOR_EXPECTED}{remedy}")
    if tensor.ndim != 3 or tensor.shape[0] != 3:
        remedy = ""
        if tensor.ndim == 3 and tensor.shape[2] == 3:
            remedy = "; the axes look like [H, W, C], so pass image.permute(2, 0, 1)"
        elif tensor.ndim == 4:
            remedy = "; pass the images of the batch one by one"
        raise ImageError(f"{found}; {_TENSOR_EXPECTED}{remedy}")
    if tensor.numel() == 0:
        raise ImageError(f"{found}, which has no pixels; expected at least 1x1")
    return np.array(tensor.detach().cpu().permute(1, 2, 0).numpy(), order="C")


def _from_colors(image: Image.Image) -> Pixels:
    if image.mode in _ALPHA_MODES or (image.mode in _KEYED_MODES and "transparency" in image.info):
        image = _on_white(image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _on_white(image: Image.Image) -> Image.Image:
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple) and max(key) > 255:
        # The transparent colour of a 16-bit file: Pillow reduces the pixels to 8 bits, but not the key.
        image = image.copy()
        image.info["transparency"] = tuple(value >> 8 for value in key)
    if image.mode == "La":  # Pillow converts premultiplied grey to nothing else
        image = image.convert("LA")
    colors = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(colors, mask=colors.getchannel("A"))
    return white


def _from_integers(image: Image.Image, name: str) -> Pixels:
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ImageError(
            f"{name}: has integer pixels from {low} to {high}; expected 16-bit values, 0 to 65535. "
            "Scale them to 0..255 and pass a uint8 array"
        )
    grey = (values >> 8).astype(np.uint8)
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey[values == key] = 255
    return np.repeat(grey[..., None], 3, axis=2)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        # A broken EXIF block is no reason to refuse sound pixels.
        return 1
