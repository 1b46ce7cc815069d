"""Who computes: the fused graph or the eager net, on the CPU or a GPU, in one number type."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from fcnrt.engine.eager import EagerFCN
from fcnrt.engine.fused import FusedFCN
from fcnrt.engine.graphs import GraphCache
from fcnrt.engine.memory import available_memory
from fcnrt.engine.placement import Placement, choose_placement
from fcnrt.errors import InputError
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
    """

    def __init__(self, net: FCN, placement: Placement, engine: str) -> None:
        super().__init__()
        self.placement = placement
        self.in_channels = net.in_channels
        self.peak_elements = net.peak_elements
        build = FusedFCN if engine == "fused" else EagerFCN
        self.graph = build(net.eval().requires_grad_(False).to(placement.device), placement.dtype)
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
        return self._recordings(name, run, x)
