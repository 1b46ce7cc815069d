"""Who computes: the fused graph or the eager net, on the CPU or a GPU, in one number type."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fcnrt.engine.eager import EagerFCN
from fcnrt.engine.fused import FusedFCN
from fcnrt.engine.graphs import GraphCache
from fcnrt.engine.ladder import run_within_memory
from fcnrt.engine.memory import available_memory
from fcnrt.engine.placement import Placement, choose_placement
from fcnrt.errors import ImageError, InputError
from fcnrt.models import FCN

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
        calibration: normalised images ``[N,C,H,W]`` for int8.
        halo: compute only what depends on the image; the eager engine always computes all.

    Raises:
        InputError: int8, and the engine or the net has no 8-bit form.
    """

    def __init__(
        self,
        net: FCN,
        placement: Placement,
        engine: str,
        calibration: Sequence[Tensor] = (),
        *,
        halo: bool = True,
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
        self._recordings = GraphCache() if placement.device.type == "cuda" else None

    def forward(self, x: Tensor) -> Any:
        """Normalised image to logits, float32 ``[N,C,H,W]``; a dict of them by head if several."""
        return self._run("logits", self.graph, x)

    def predict_labels(self, x: Tensor, confidence: bool = False) -> Any:
        """The same to labels, uint8 ``[N,H,W]``, and with ``confidence`` the winner's probability in float16."""
        run = functools.partial(self.graph.predict_labels, confidence=confidence)
        return self._run("confidence" if confidence else "labels", run, x)

    def _run(self, name: str, run: Any, x: Tensor) -> Any:
        if self._recordings is None or torch.compiler.is_compiling() or not x.numel():
            return run(x)
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
