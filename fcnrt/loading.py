"""From a file, or the name of a published one, to a model that is ready to run."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from fcnrt.checkpoints import Overrides, read_checkpoint
from fcnrt.engine import choose_engine, choose_placement
from fcnrt.images import ImageSource
from fcnrt.preprocessing import Normalization
from fcnrt.pretrained import find, is_name, progress_bar, pull
from fcnrt.segmenter import Segmenter

logger = logging.getLogger(__name__)


def load(
    path: str | os.PathLike[str],
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    engine: str = "auto",
    arch: str | None = None,
    normalization: str | Normalization | None = None,
    classes: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
    calibration: Iterable[ImageSource] | None = None,
) -> Segmenter:
    """Read a checkpoint and make it ready to run.

    Nothing in the file is executed. What the file cannot say is taken, in this order, from the arguments here, the
    file's own metadata, the registry if ``path`` is a published name, the file's name, and a default with a warning;
    ``model.spec.sources`` tells which it was.

    Args:
        path: a checkpoint, or the name of a published one (``fcnrt pull --list``), which is fetched once into a
            cache. A file of that name goes before.
        device: ``"auto"`` (a CUDA GPU where there is one), ``"cpu"``, ``"cuda"``, ``"cuda:N"``.
        dtype: ``"auto"`` (the narrowest type with matrix hardware that keeps the labels; on a GPU float16 or bfloat16,
            whichever keeps more of them on the images of ``calibration``), ``torch.float32`` (exact parity),
            ``torch.float16``, ``torch.bfloat16``, ``torch.int8`` (on the CPU, for nets of convolutions, ReLU and pools
            alone), or one of these names. ``model.engine.placement.reason`` says what was measured.
        engine: ``"fused"``, ``"eager"`` or ``"auto"``.
        arch: a name of ``fcnrt.models.ARCHITECTURES``, where tensors cannot tell: ``"fcn8s-atonce"`` has those of
            ``"fcn8s"``.
        normalization: a preset's name (``"caffe-voc"``, ``"imagenet"``) or a ``Normalization``.
        classes: a name for each class.
        options: what else the architecture has to be told and no tensor says, such as ``{"align_corners": True}``.
        calibration: for int8 and float16, a few images like those to be segmented: they show how large activations
            become. Where they leave float16's range, the fused engine folds powers of two into the weights. None:
            procedural scenes that ship with the package.

    Raises:
        CheckpointError: the file is missing, broken, hostile, or no network that fcnrt knows.
        DeviceError: the device does not exist here.
        DownloadError: a published file could not be fetched.
        InputError: an argument has a value that does not exist; the type does not hold the net's numbers.
    """
    placement = choose_placement(device, dtype)
    chosen = choose_engine(engine)
    registry = published(path)
    path = locate(path)
    checkpoint = read_checkpoint(
        path, arch=arch, normalization=normalization, classes=classes, options=options, registry=registry
    )
    for note in checkpoint.notes:
        logger.warning("%s: %s", os.fspath(path), note)
    return Segmenter(checkpoint.spec, checkpoint.state_dict, placement, chosen, calibration)


def locate(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """The file that ``path`` means: itself, or that of a published checkpoint, fetched if need be.

    Raises:
        DownloadError: it could not be fetched.
    """
    if isinstance(path, str) and is_name(path):
        with progress_bar(path) as progress:
            return pull(path, progress=progress)
    return path


def published(path: str | os.PathLike[str]) -> Overrides | None:
    """What the registry says of the net that ``path`` names; None where ``path`` is that of a file."""
    if not isinstance(path, str) or not is_name(path):
        return None
    entry = find(path)
    return Overrides(entry.arch, entry.normalization, entry.classes or None, entry.options)
