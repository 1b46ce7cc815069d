"""fcnrt: label maps from Fully Convolutional Networks, fast and exact.

>>> import fcnrt
>>> model = fcnrt.load("fcn8s.pt")            # doctest: +SKIP
>>> model.segment("street.jpg").save("street.png")  # doctest: +SKIP
"""

from __future__ import annotations

from fcnrt.convolutionalization import convolutionalize
from fcnrt.errors import CheckpointError, DeviceError, DownloadError, FcnrtError, ImageError, InputError
from fcnrt.loading import load
from fcnrt.preprocessing import Normalization
from fcnrt.segmentation import Segmentation
from fcnrt.segmenter import Segmenter
from fcnrt.spec import ModelSpec

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "DeviceError",
    "DownloadError",
    "FcnrtError",
    "ImageError",
    "InputError",
    "ModelSpec",
    "Normalization",
    "Segmentation",
    "Segmenter",
    "__version__",
    "convolutionalize",
    "load",
]
