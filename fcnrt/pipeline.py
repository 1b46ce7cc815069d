"""From images to label maps: read, batched, uploaded, labelled, downloaded; the next while a GPU has the last."""

from __future__ import annotations

import itertools
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from fcnrt.batches import in_batches
from fcnrt.engine import Engine, available_memory
from fcnrt.engine.transfers import Download
from fcnrt.errors import ImageError
from fcnrt.images import Depth, ImageSource, read_depth, read_image, resize_map, size_for
from fcnrt.preprocessing import KINDS, Kind
from fcnrt.rgb import Pixels
from fcnrt.segmentation import Segmentation
from fcnrt.spec import ModelSpec

MOST_TOGETHER = 16
"""Images in a batch on a GPU. On a CPU each image keeps all cores busy by itself."""

AHEAD = 1
"""Batches that are under way while the next is read."""


@dataclass(frozen=True)
class _Item:
    """An image that is ready to be uploaded."""

    index: int
    image: Pixels
    shown: npt.NDArray[Any]
    """the image at the size that the network sees"""
    beside: npt.NDArray[Any] | None
    path: str | None
    most: int
    """how many like it memory suffices for"""
    milliseconds: float
    """that the host took for it"""

    @property
    def size(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return self.shown.shape[:2], self.image.shape[:2]


@dataclass(frozen=True)
class _Batch:
    """Images under way."""

    items: list[_Item]
    names: list[str]
    """of the heads"""
    download: Download
    """labels of each head, then their probabilities if asked for"""
    staging: float
    """milliseconds"""
    marks: tuple[Any, Any, Any]
    """before the upload, before the network, behind it"""
    uploaded: tuple[Tensor, ...]
    """held until the labels are there"""


class Pipeline:
    """Labels images, in batches of one size on a GPU, one by one on a CPU.

    Args:
        engine: the network.
        spec: what it is.
        confidence: also give the winner's probability.
        resize: bring the shorter side to this many pixels first.
    """

    def __init__(self, engine: Engine, spec: ModelSpec, confidence: bool, resize: int | None) -> None:
        self._engine, self._spec = engine, spec
        self._confidence, self._resize = confidence, resize
        self._device = engine.placement.device
        self._transfers = engine.transfers

    def run(self, pairs: Iterable[tuple[ImageSource, Any]]) -> list[Segmentation]:
        """Each image, with what is beside it or None, to its segmentation, in the same order.

        Raises:
            ImageError: an image cannot be read, or is too large for this machine; what is beside it has another size.
        """
        results: dict[int, Segmentation] = {}
        under_way: deque[_Batch] = deque()
        for items in in_batches(self._read(pairs), lambda item: item.size, lambda item: item.most):
            under_way.append(self._start(items))
            if len(under_way) > AHEAD:
                results |= self._finish(under_way.popleft())
        while under_way:
            results |= self._finish(under_way.popleft())
        return [results[index] for index in sorted(results)]

    def _read(self, pairs: Iterable[tuple[ImageSource, Any]]) -> Iterator[_Item]:
        for index, (source, beside) in enumerate(pairs):
            started = time.perf_counter()
            image = read_image(source)
            height, width = image.shape[0], image.shape[1]
            path = os.fspath(source) if isinstance(source, (str, os.PathLike)) else None
            kind = None if self._spec.normalization.beside is None else self._spec.normalization.beside.kind
            more = None if kind is None else _read_beside(kind, beside, image, path or "image")
            size = (height, width) if self._resize is None else size_for(height, width, self._resize)
            most = self._most_together(size, (height, width), path or "image")
            shown, more = resize_map(image, size), None if more is None else resize_map(more, size)
            yield _Item(index, image, shown, more, path, most, (time.perf_counter() - started) * 1e3)

    def _start(self, items: list[_Item]) -> _Batch:
        transfers = self._transfers
        started = time.perf_counter()
        staged = transfers.stage([item.shown for item in items])
        besides = [item.beside for item in items if item.beside is not None]
        staged_beside = transfers.stage(besides) if besides else None
        staging = (time.perf_counter() - started) * 1e3
        with torch.inference_mode():
            begun = transfers.mark()
            uploaded = tuple(transfers.upload(each) for each in (staged, staged_beside) if each is not None)
            x = self._engine.to_input(uploaded[0], _channels_first(uploaded[1]) if len(uploaded) > 1 else None)
            prepared = transfers.mark()
            shown, size = items[0].size
            heads = self._label_heads(x, None if shown == size else (size[0], size[1]))
            inferred = transfers.mark()
            tensors = [labels for labels, _ in heads.values()]
            tensors += [probability for _, probability in heads.values() if probability is not None]
            download = transfers.download(tensors)
        return _Batch(items, list(heads), download, staging, (begun, prepared, inferred), uploaded)

    def _finish(self, batch: _Batch) -> dict[int, Segmentation]:
        arrays, count = batch.download.wait(), len(batch.items)
        begun, prepared, inferred = batch.marks
        marks = (begun, prepared, inferred, batch.download.arrived)
        spans = [self._transfers.milliseconds(*pair) / count for pair in itertools.pairwise(marks)]
        results: dict[int, Segmentation] = {}
        for position, item in enumerate(batch.items):
            started = time.perf_counter()
            maps = {name: images[position] for name, images in zip(batch.names, arrays, strict=False)}
            results[item.index] = Segmentation(
                labels=next(iter(maps.values())),
                classes=self._spec.classes,
                palette=self._spec.palette,
                image=item.image,
                path=item.path,
                confidence=arrays[len(batch.names)][position] if self._confidence else None,
                heads=maps if len(maps) > 1 else {},
            )
            results[item.index].speed = {
                "preprocess": item.milliseconds + batch.staging / count + spans[0],
                "inference": spans[1],
                "postprocess": spans[2] + (time.perf_counter() - started) * 1e3,
            }
        return results

    def _label_heads(self, x: Tensor, size: tuple[int, int] | None) -> dict[str, tuple[Tensor, Tensor | None]]:
        """Labels, and the probability if asked for, of each head; at ``size``, where that is not the input's."""
        if size is None:
            labelled = _by_head(self._engine.predict_labels(x, self._confidence))
            return {name: labels if self._confidence else (labels, None) for name, labels in labelled.items()}
        heads: dict[str, tuple[Tensor, Tensor | None]] = {}
        for name, logits in _by_head(self._engine(x)).items():
            # Scores are brought to the image's size, not labels: a label between two others means nothing.
            at_size = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
            labels = at_size.argmax(dim=1).to(torch.uint8 if logits.shape[1] <= 255 else torch.int32)
            heads[name] = (labels, at_size.softmax(dim=1).amax(dim=1).half() if self._confidence else None)
        return heads

    def _most_together(self, size: tuple[int, int], whole: tuple[int, int], name: str) -> int:
        """How many images may go together that the network sees at ``size`` and that are as large as ``whole``.

        Raises:
            ImageError: not even one. A machine that runs out of memory kills the run; a refusal costs one image.
        """
        height, width = size
        needed = self._engine.peak_elements(height, width) * self._engine.placement.dtype.itemsize
        if size != whole:  # float32 scores at the image's size, their softmax if asked for, and labels of 64 bits
            classes = max(map(len, self._spec.heads.values()), default=self._spec.num_classes)
            needed = max(needed, whole[0] * whole[1] * (4 * classes * (1 + self._confidence) + 8))
        available = available_memory(self._device)
        if needed > available:
            raise ImageError(
                f"{name}: {width}x{height} pixels need {needed / 2**30:.1f} GiB for activations on {self._device}, and "
                f"{available / 2**30:.1f} GiB are free; pass resize=520 (--resize 520), or cut the image into parts"
            )
        return max(1, min(MOST_TOGETHER, available // needed)) if self._device.type == "cuda" else 1


def _channels_first(arrays: Tensor) -> Tensor:
    """``[N,H,W,C]``, or ``[N,H,W]`` of one channel, to ``[N,C,H,W]``."""
    return arrays[:, None] if arrays.ndim == 3 else arrays.permute(0, 3, 1, 2)


def _by_head(outputs: Any) -> dict[str, Any]:
    """What a net with one head gives, in the form that a net with several gives."""
    return outputs if isinstance(outputs, dict) else {"out": outputs}


def _read_beside(kind: Kind, source: ImageSource, image: Pixels, name: str) -> Pixels | Depth:
    """HHA or depth, of the size of ``image``, whose ``name`` is for the error."""
    read = read_image(source) if kind == "hha" else read_depth(source)
    if read.shape[:2] != image.shape[:2]:
        (height, width), (rows, columns) = image.shape[:2], read.shape[:2]
        raise ImageError(
            f"{name}: is {width}x{height}, and its {KINDS[kind][0]} {columns}x{rows}; expected the same size, pixel "
            "for pixel"
        )
    return read
