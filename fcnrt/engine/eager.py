"""The reference net behind the engine's interface: for comparison, and for whoever distrusts the fused ops."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fcnrt.models import FCN
from fcnrt_kernels.reference import label_dtype


class EagerFCN(nn.Module):
    """Runs ``net`` as it is, in ``dtype``."""

    def __init__(self, net: FCN, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.net = net.to(dtype=dtype)

    def forward(self, x: Tensor) -> Any:
        """Normalised image to logits, float32 ``[N,C,H,W]``; a dict of them by head if several."""
        logits = self.net(x.to(self.dtype))
        return {name: head.float() for name, head in logits.items()} if isinstance(logits, dict) else logits.float()

    def predict_labels(self, x: Tensor, confidence: bool = False) -> Any:
        """The same to labels, uint8 ``[N,H,W]``, and with ``confidence`` the winner's probability in float16."""
        logits = self(x)
        if isinstance(logits, dict):
            return {name: _labels(head, confidence) for name, head in logits.items()}
        return _labels(logits, confidence)


def _labels(logits: Tensor, confidence: bool) -> Tensor | tuple[Tensor, Tensor]:
    labels = logits.argmax(dim=1).to(label_dtype(logits.shape[1]))
    return (labels, logits.softmax(dim=1).amax(dim=1).half()) if confidence else labels
