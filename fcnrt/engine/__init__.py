"""Who computes: the fused graph or the eager net, on the CPU or a GPU, in one number type."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fcnrt.engine.eager import EagerFCN
from fcnrt.engine.fused import FusedFCN
from fcnrt.engine.graphs import GraphCache, StreamOrder
from fcnrt.engine.ladder import run_within_memory
from fcnrt.engine.memory import available_memory
from fcnrt.engine.placement import Placement, choose_placement
from fcnrt.engine.transfers import transfers_for
from fcnrt.errors import ImageError, InputError
from fcnrt.models import FCN
from fcnrt.preprocessing import Normalization, normalize
from fcnrt_kernels import launch

ENGINES = ("fused", "eager")

__all__ = ["ENGINES", "Engine", "Placement", "available_memory", "choose_engine", "choose_placement"]


def choose_engine(engine: str = "auto") -> str:
    """Resolve ``"auto"`` to the fused engine, which runs on every device.

    Raises:
        InputError: no such engine.
    """
    if engine == "auto":
        return "fused"
    if engine not in ENGINES:
        raise InputError(f"unknown engine {engine!r}; expected 'auto', {', '.join(map(repr, ENGINES))}")
    return engine


class Engine(nn.Module):
    """A net on its device, ready to be called: logits or labels of normalised images.

    On a GPU each input shape is recorded once as a CUDA graph and replayed from then on. A call that is being
    traced by ``torch.compile`` or ``torch.export`` runs the graph's modules instead.

    Args:
        net: a reference net in float32 with its weights; it is moved and converted, and belongs to the engine.
        placement: device and type.
        engine: one of ``ENGINES``.
        calibration: normalised images ``[N,C,H,W]`` for int8 and float16.
        halo: compute only what depends on the image; the eager engine always computes all.
        normalization: of images that come as pixels.

    Raises:
        InputError: int8, and the engine or the net has no 8-bit form; float16, and it does not hold the net's numbers.
    """

    def __init__(
        self,
        net: FCN,
        placement: Placement,
        engine: str,
        calibration: Sequence[Tensor] = (),
        *,
        halo: bool = True,
        normalization: Normalization | None = None,
    ) -> None:
        super().__init__()
        self.placement = placement
        self.in_channels = net.in_channels
        self.peak_elements = net.peak_elements
        net = net.eval().requires_grad_(False).to(placement.device)
        if engine == "fused":
            self.graph: FusedFCN | EagerFCN = FusedFCN(net, placement.dtype, halo=halo, calibration=calibration)
        elif placement.dtype == torch.int8:
            raise InputError("the eager engine has no 8-bit form; use engine='fused' or another dtype")
        else:
            self.graph = EagerFCN(net, placement.dtype)
        self.normalization = normalization
        self.transfers = transfers_for(placement.device)
        self._takes_pixels = (
            normalization is not None and isinstance(self.graph, FusedFCN) and self.graph.take_pixels(normalization)
        )
        self._recordings = GraphCache(StreamOrder(placement.device)) if placement.device.type == "cuda" else None

    def forward(self, x: Tensor) -> Any:
        """Normalised image to logits, float32 ``[N,C,H,W]``; a dict of them by head if several."""
        return self._run("logits", lambda x: self.graph(x), x)

    def predict_labels(self, x: Tensor, confidence: bool = False) -> Any:
        """The same to labels, uint8 ``[N,H,W]``, and with ``confidence`` the winner's probability in float16."""
        name = "confidence" if confidence else "labels"
        return self._run(name, lambda x: self.graph.predict_labels(x, confidence), x)

    def label_images(self, images: Tensor, confidence: bool = False) -> Any:
        """Images as they come from a file, to labels.

        On a GPU the first convolution normalises them while it reads them, wherever it alone reads them; elsewhere
        they are normalised first.

        Args:
            images: uint8 ``[N,H,W,3]``, RGB, of a net that takes colour alone; on any device, preferably its own.
            confidence: also give the winner's probability.

        Returns:
            As ``predict_labels`` does.

        Raises:
            InputError: images of another type or shape.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape[1:]:
            raise InputError(f"images are {images.dtype} {list(images.shape)}; expected torch.uint8 [N,H,W,3], RGB")
        return self.predict_labels(self.to_input(images.to(self.placement.device)), confidence)

    def to_input(self, images: Tensor, beside: Tensor | None = None) -> Tensor:
        """What the engine makes logits or labels of: normalised images, or pixels where it reads those as they are.

        Args:
            images: uint8 ``[N,H,W,3]``, RGB, on the engine's device.
            beside: what ``fcnrt.preprocessing.normalize`` takes beside them.
        """
        assert self.normalization is not None, "the engine was made for normalised images"
        x = images.permute(0, 3, 1, 2)
        if beside is None and self._takes_pixels and x.numel() and not torch.compiler.is_compiling():
            return x
        return normalize(x, self.normalization, beside)

    def _run(self, name: str, run: Any, x: Tensor) -> Any:
        if self._recordings is None or torch.compiler.is_compiling() or not x.numel():
            return run(x)
        if x.is_cuda and torch.cuda.is_current_stream_capturing():
            return run(x)  # into the caller's own graph: none can hold another
        if self.placement.dtype == torch.float32:
            # Whether products are exact is torch's setting of the moment, which a recording keeps.
            name = f"{name} {launch.conv_precision()} {launch.dot_precision()}"
        attempt = functools.partial(self._recordings, name, run)
        try:
            return run_within_memory(x, attempt, self._recordings.forget)
        except torch.OutOfMemoryError as error:
            needed = self.peak_elements(x.shape[2], x.shape[3]) * self.placement.dtype.itemsize
            free = available_memory(self.placement.device)
            raise ImageError(
                f"one image of {x.shape[3]}x{x.shape[2]} pixels needs up to {needed / 2**30:.1f} GiB for activations "
                f"on {self.placement.device}, and {free / 2**30:.1f} GiB are free; pass resize=520 (--resize 520), cut "
                f"the image into parts, or free memory on the device"
            ) from error
