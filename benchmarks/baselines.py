"""How the peers run: eager modules in any type and layout, as CUDA graphs, under torch.compile, or exported."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.contenders import Contender
from benchmarks.exported import exported_run
from benchmarks.in_jax import jax_run
from benchmarks.timing import Inputs, Run
from fcnrt.models import FCN8s


class Runs(NamedTuple):
    """What a contender can be asked for; None where asking would cost more than it tells."""

    scores: Run | None
    labels: Run | None
    prepare: Run | None = None
    """makes what is kept from call to call and is not counted among a call's memory"""


class ToLabels(nn.Module):
    """What an eager user does with scores ``[N,C,H,W]``: uint8 ``[N,H,W]``."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Tensor) -> Tensor:
        scores: Tensor = self.net(*inputs)
        return scores.argmax(dim=1).to(torch.uint8)


class Graphed:
    """Replays ``run`` as one CUDA graph. It returns its own buffers, uncopied: a head start over fcnrt."""

    def __init__(self, run: Run, inputs: Inputs) -> None:
        self._inputs = tuple(tensor.clone() for tensor in inputs)
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                run(*self._inputs)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output = run(*self._inputs)

    def __call__(self, *inputs: Tensor) -> Tensor:
        for buffer, tensor in zip(self._inputs, inputs, strict=True):
            buffer.copy_(tensor)
        self._graph.replay()
        return self._output  # type: ignore[no-any-return]


def peer_runs(contender: Contender, net: nn.Module, inputs: Inputs, output: str) -> Runs:
    """``net``, an eager float32 module that may be converted in place, as ``contender`` runs it.

    Args:
        inputs: examples, for the kinds that record or compile.
        output: ``"scores"`` or ``"labels"``, whichever will be timed.
    """
    exported = contender.kind in ("onnxruntime", "openvino", "jax")  # these convert by themselves
    scores = net if exported else net.to(dtype=contender.dtype)
    if contender.channels_last:
        scores = scores.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    labels = ToLabels(scores)
    if contender.kind == "compile":
        torch.compiler.reset()  # each net is new to it; past a few, it would run them uncompiled without a word
        mode = "max-autotune" if inputs[0].is_cuda else "default"
        if output == "labels":
            return Runs(None, torch.compile(labels, mode=mode, dynamic=False))
        return Runs(torch.compile(scores, mode=mode, dynamic=False), None)
    if contender.kind == "jax":
        (weights,) = (module.state_dict() for module in net.modules() if isinstance(module, FCN8s))
        run = jax_run(weights, contender.dtype, output)
        return Runs(None, run) if output == "labels" else Runs(run, None)
    if exported:
        if output == "labels":
            return Runs(None, exported_run(contender, labels.eval(), inputs))
        return Runs(exported_run(contender, scores.eval(), inputs), None)
    if contender.kind == "graph":
        return Runs(Graphed(scores, inputs), Graphed(labels, inputs))
    return Runs(scores, labels)
