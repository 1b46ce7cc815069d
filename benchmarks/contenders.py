"""Who competes in every group: the eager reference, its peers, and fcnrt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from fcnrt.engine.placement import cpu_has_bfloat16

Kind = Literal["eager", "graph", "compile", "fcnrt"]


@dataclass(frozen=True)
class Contender:
    """One way to compute what the eager float32 net computes.

    ``graph`` is the eager net replayed as a CUDA graph. ``tf32`` lets cuDNN round the factors of float32
    convolutions, which is torch's own default on a GPU; everywhere else it is off.
    """

    kind: Kind
    dtype: torch.dtype = torch.float32
    channels_last: bool = False
    tf32: bool = False

    @property
    def title(self) -> str:
        words = {"graph": "eager", "compile": "torch.compile"}
        parts = [words.get(self.kind, self.kind), "tf32" if self.tf32 else str(self.dtype).removeprefix("torch.")]
        if self.channels_last:
            parts.append("channels-last")
        if self.kind == "graph":
            parts.append("CUDA graph")
        return " ".join(parts)

    @property
    def is_reference(self) -> bool:
        return self == REFERENCE

    def __str__(self) -> str:
        return self.title.replace(" ", "-")


REFERENCE = Contender("eager")
"""Every ratio is against this one, and so is every agreement."""


def contenders(device: torch.device, *, compiled: bool, graphs: bool) -> tuple[Contender, ...]:
    """All that compete on ``device``, the reference first.

    Args:
        compiled: with ``torch.compile``, which takes minutes to compile.
        graphs: with the eager net as a CUDA graph.
    """
    narrow = (torch.bfloat16,) if _multiplies_bfloat16(device) else ()
    on_gpu = device.type == "cuda"
    chosen = [REFERENCE]
    if on_gpu:
        chosen.append(Contender("eager", tf32=True))
    chosen += [Contender("eager", dtype, channels_last=True) for dtype in narrow]
    if on_gpu and graphs:
        chosen += [Contender("graph", dtype, channels_last=True) for dtype in narrow]
    if compiled:
        chosen.append(Contender("compile"))
        chosen += [Contender("compile", dtype, channels_last=True) for dtype in narrow]
    chosen.append(Contender("fcnrt"))
    chosen += [Contender("fcnrt", dtype) for dtype in narrow]
    if on_gpu and narrow:
        chosen.append(Contender("fcnrt", torch.float16))
    return tuple(chosen)


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return cpu_has_bfloat16()
