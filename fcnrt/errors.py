"""Every error that fcnrt raises on purpose. Each message says what was found, what was expected, what to do."""

from __future__ import annotations


class FcnrtError(Exception):
    """Base of all errors raised by fcnrt."""


class CheckpointError(FcnrtError):
    """A checkpoint could not be read, or does not hold a network that fcnrt knows."""


class ImageError(FcnrtError, ValueError):
    """An image could not be read, or is not one that can be segmented."""


class InputError(FcnrtError, ValueError):
    """An argument or a tensor has a value, shape or type that the call cannot take."""


class DeviceError(FcnrtError):
    """The requested device or engine is not available on this machine."""


class DownloadError(FcnrtError):
    """A published file could not be fetched, or what arrived is not that file."""
