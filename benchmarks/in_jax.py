"""FCN-8s as a user of JAX writes it: NHWC, one jitted function, XLA free to fuse what it likes."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

import torch
import torch.utils.dlpack
from torch import Tensor

from benchmarks.timing import Run
from fcnrt.preprocessing import PRESETS

NORMALIZATION = PRESETS["caffe-voc"]

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the GPU is shared with torch

_LAYERS = (2, 2, 3, 3, 3)
"""Convolutions of each block of VGG16, each block with a pool behind it."""

_NHWC = ("NHWC", "HWIO", "NHWC")


def jax_run(weights: Mapping[str, Tensor], dtype: torch.dtype, output: str) -> Run:
    """FCN-8s on ``weights``: images on torch's device to what ``output`` says, there too.

    Images are normalised, ``[N,3,H,W]``, or pixels as ``nets.NORMALIZATION`` takes them, uint8 ``[N,H,W,3]``.

    Args:
        weights: a state_dict of ``fcnrt.models.FCN8s``.
        dtype: of trunk and scores.
        output: ``"scores"``, ``[N,C,H,W]`` in ``dtype``, or ``"labels"``, uint8 ``[N,H,W]``.
    """
    jax, jnp = _jax(), _jax().numpy
    narrow = jnp.dtype(str(dtype).removeprefix("torch."))
    parameters = {name: _to_jax(_packed(name, tensor)).astype(narrow) for name, tensor in weights.items()}

    def compute(parameters: Any, x: Any) -> Any:
        pixels = x.dtype == jnp.uint8
        image = x[..., ::-1].astype(jnp.float32) - jnp.array(NORMALIZATION.mean) if pixels else x.transpose(0, 2, 3, 1)
        scores = _fcn8s(parameters, image.astype(narrow))
        return scores.argmax(-1).astype(jnp.uint8) if output == "labels" else scores.transpose(0, 3, 1, 2)

    net = jax.jit(compute)

    def run(x: Tensor) -> Tensor:
        result: Tensor = torch.utils.dlpack.from_dlpack(net(parameters, _to_jax(x)).block_until_ready())
        return result

    return run


def _jax() -> Any:
    """Optional, and without types where it is missing."""
    return importlib.import_module("jax")


def _packed(name: str, tensor: Tensor) -> Tensor:
    """As JAX reads it: HWIO, transposed convolutions turned round."""
    if tensor.ndim < 4:
        return tensor
    if name.startswith("upscore"):
        return tensor.flip(2, 3).permute(2, 3, 0, 1).contiguous()
    return tensor.permute(2, 3, 1, 0).contiguous()


def _to_jax(tensor: Tensor) -> Any:
    return _jax().dlpack.from_dlpack(tensor.detach().contiguous())


def _fcn8s(parameters: Mapping[str, Any], image: Any) -> Any:
    jax, jnp = _jax(), _jax().numpy

    def conv(x: Any, name: str, padding: int = 0) -> Any:
        weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
        sides = ((padding, padding), (padding, padding))
        return jax.lax.conv_general_dilated(x, weight, (1, 1), sides, dimension_numbers=_NHWC) + bias

    def upsampled(x: Any, name: str) -> Any:
        weight = parameters[f"{name}.weight"]
        stride, around = weight.shape[0] // 2, (weight.shape[0] - 1,) * 2
        return jax.lax.conv_general_dilated(
            x, weight, (1, 1), (around, around), lhs_dilation=(stride, stride), dimension_numbers=_NHWC
        )

    def pool(x: Any) -> Any:
        """Ceil mode."""
        sides = ((0, 0), *((0, length % 2) for length in x.shape[1:3]), (0, 0))
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), sides)

    def cut(x: Any, first: int, like: Any) -> Any:
        return x[:, first : first + like.shape[1], first : first + like.shape[2]]

    x, pools = image, {}
    for block, layers in enumerate(_LAYERS, 1):
        for layer in range(1, layers + 1):
            x = jax.nn.relu(conv(x, f"conv{block}_{layer}", 100 if (block, layer) == (1, 1) else 1))
        x = pools[block] = pool(x)
    x = jax.nn.relu(conv(jax.nn.relu(conv(x, "fc6")), "fc7"))
    x = upsampled(conv(x, "score_fr"), "upscore2")
    x = upsampled(x + cut(conv(pools[4], "score_pool4"), 5, x), "upscore_pool4")
    x = upsampled(x + cut(conv(pools[3], "score_pool3"), 9, x), "upscore8")
    return cut(x, 31, image)
