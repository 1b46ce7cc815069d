"""Who competes in every group: the eager reference, its peers, and fcnrt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from fcnrt.engine.placement import cpu_has_bfloat16

Kind = Literal["eager", "graph", "compile", "jax", "onnxruntime", "openvino", "fcnrt"]
Part = Literal["matrix", "winograd", "halo", "decoder", "convolutions", "launch"]
"""What fcnrt can do without. On a CPU: fc6 and fc7 as one matrix product, Winograd's convolutions, the constant halo,
the fused decoder. On a GPU: its own convolutions, the halo, and the decoder in one launch."""

_WORDS = {
    "graph": "eager",
    "compile": "torch.compile",
    "jax": "JAX",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "matrix": "matrix product",
    "winograd": "Winograd",
    "decoder": "fused decoder",
    "convolutions": "own convolutions",
    "launch": "one-launch decoder",
}


@dataclass(frozen=True)
class Contender:
    """One way to compute what the eager float32 net computes.

    ``graph`` is the eager net replayed as a CUDA graph. ``tf32`` lets cuDNN round the factors of float32
    convolutions, which is torch's own default on a GPU; everywhere else it is off. ``without`` is what fcnrt
    leaves out.
    """

    kind: Kind
    dtype: torch.dtype = torch.float32
    channels_last: bool = False
    tf32: bool = False
    without: tuple[Part, ...] = ()

    @property
    def title(self) -> str:
        parts = [_WORDS.get(self.kind, self.kind), "tf32" if self.tf32 else str(self.dtype).removeprefix("torch.")]
        if self.channels_last:
            parts.append("channels-last")
        if self.kind == "graph":
            parts.append("CUDA graph")
        if self.without:
            parts.append(f"without {', '.join(_WORDS.get(part, part) for part in self.without)}")
        return " ".join(parts)

    @property
    def is_reference(self) -> bool:
        return self == REFERENCE

    def __str__(self) -> str:
        return self.title.replace(",", "").replace(" ", "-")


REFERENCE = Contender("eager")
"""Every ratio is against this one, and so is every agreement."""


def contenders(device: torch.device, *, compiled: bool, graphs: bool, runtimes: bool = False) -> tuple[Contender, ...]:
    """All that compete on ``device``, the reference first.

    Args:
        compiled: with ``torch.compile``, which takes minutes to compile.
        graphs: on a GPU, with the eager net as a CUDA graph, and with the net in JAX.
        runtimes: on a CPU, with what runs exported nets, and with fcnrt without its halo.
    """
    narrow = (torch.bfloat16,) if _multiplies_bfloat16(device) else ()
    on_gpu = device.type == "cuda"
    chosen = [REFERENCE]
    if on_gpu:
        chosen.append(Contender("eager", tf32=True))
    else:
        chosen.append(Contender("eager", channels_last=True))
    chosen += [Contender("eager", dtype, channels_last=True) for dtype in narrow]
    if on_gpu and graphs:
        chosen += [Contender("graph", dtype, channels_last=True) for dtype in narrow]
        chosen += [Contender("jax", dtype) for dtype in narrow]
    if compiled:
        chosen.append(Contender("compile"))
        chosen += [Contender("compile", dtype, channels_last=True) for dtype in narrow]
    if runtimes and not on_gpu:
        chosen += [Contender("onnxruntime"), Contender("openvino")]
        chosen += [Contender("openvino", dtype) for dtype in narrow]
        chosen.append(Contender("fcnrt", without=("halo",)))
    chosen.append(Contender("fcnrt"))
    chosen += [Contender("fcnrt", dtype) for dtype in narrow]
    if on_gpu and narrow:
        chosen.append(Contender("fcnrt", torch.float16))
    return tuple(chosen)


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return cpu_has_bfloat16()
