"""Peers that run an exported net, and what is missing for a peer to run at all. None of them is needed by fcnrt."""

from __future__ import annotations

import functools
import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.contenders import Contender
from benchmarks.timing import Inputs, Run

_NEEDED = {
    "jax": ("jax",),
    "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}


def why_missing(contender: Contender) -> str | None:
    """Why ``contender`` cannot run here; None if it can."""
    absent = [name for name in _NEEDED.get(contender.kind, ()) if importlib.util.find_spec(name) is None]
    if absent:
        how = "'jax[cuda13]'" if contender.kind == "jax" else "'fcnrt[bench]'"
        return f"{', '.join(absent)} not installed: pip install {how}"
    return _why_not_compiled() if contender.kind == "compile" else None


def exported_run(contender: Contender, net: nn.Module, inputs: Inputs) -> Run:
    """``net`` exported to ONNX for inputs of these shapes, on as many threads as torch has.

    Args:
        net: in eval mode, itself and all its modules: the exporter brings each back to the mode that it finds.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        with torch.inference_mode(False), torch.no_grad():
            torch.onnx.export(net, inputs, path, dynamo=True, external_data=True, verbose=False)
        return (_onnxruntime if contender.kind == "onnxruntime" else _openvino)(path, contender.dtype)


def _onnxruntime(path: Path, dtype: torch.dtype) -> Run:
    import onnxruntime  # type: ignore[import-not-found,unused-ignore]  # optional, and without types

    assert dtype == torch.float32, "ONNX Runtime has no other type of convolution on a CPU"
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def run(*inputs: Tensor) -> Tensor:
        arrays = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        return torch.from_numpy(session.run(None, arrays)[0])

    return run


def _openvino(path: Path, dtype: torch.dtype) -> Run:
    import openvino  # type: ignore[import-not-found,unused-ignore]  # optional

    # Without a hint it takes the narrowest type that the processor multiplies.
    precision = {torch.float32: "f32", torch.bfloat16: "bf16"}[dtype]
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()

    def run(*inputs: Tensor) -> Tensor:
        return torch.from_numpy(request.infer([tensor.numpy() for tensor in inputs], share_outputs=True)[0])

    return run


@functools.cache
def _why_not_compiled() -> str | None:
    """Whether torch.compile finds all that it needs, such as a C++ compiler, is seen by compiling something."""
    try:
        with torch.inference_mode(False):
            torch.compile(lambda x: x + 1)(torch.zeros(4))
    except Exception as error:
        return f"torch.compile does not work here: {str(error).strip().splitlines()[0]}"
    finally:
        torch.compiler.reset()
    return None
