"""Upsample the scores, crop them to the image and keep the best class of each pixel, in one pass.

    labels[n,y,x] = argmax_c upsample_crop(scores)[n,c,y,x]

The logits ``[N,C,H,W]`` never exist in memory: a 1024x2048 image with 21 classes would write and read 176 MB of them
in float32, and the labels are 2 MB. Ties go to the lowest class; NaN wins over any number, as in ``torch.argmax``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fcnrt_kernels import launch, reference
from fcnrt_kernels.checks import TRANSPOSED, check_out
from fcnrt_kernels.config import select_matrix_tile, select_pixel_tile
from fcnrt_kernels.op import Op
from fcnrt_kernels.reference import label_dtype
from fcnrt_kernels.upsample_crop import check


def upsample_argmax(
    scores: Tensor,
    *,
    size: Sequence[int],
    kernel: int = 1,
    stride: int = 1,
    offset: Sequence[int] = (0, 0),
    taps: Tensor | None = None,
    rule: str = TRANSPOSED,
    confidence: bool = False,
    out: Any = None,
) -> Any:
    """The best class of each pixel in a window of the transposed convolution of ``scores``.

    Args:
        scores: ``[N,C,h,w]``; float32, float16 or bfloat16, any strides.
        size, kernel, stride, offset, taps, rule: as in ``upsample_crop``.
        confidence: also return the winner's softmax probability.
        out: where to write: labels ``[N,*size]`` in uint8 (int32 past 255 classes), and with ``confidence`` a
            tuple of them and float16 or float32 ``[N,*size]``; any strides. New tensors if None.

    Returns:
        The labels, or ``(labels, probability)``; a new probability is float16.

    Raises:
        ValueError: shapes, types, devices or a window that do not fit each other.
    """
    args = (scores, taps, kernel, stride, list(offset), list(size), rule)
    op = _OP_CONFIDENCE if confidence else _OP
    if out is None:
        return op(*args)
    return op.into(check_labels_out(out, scores, size, confidence), *args)


def check_labels_out(out: Any, scores: Tensor, size: Sequence[int], confidence: bool) -> Any:
    """``out`` as it is, where it can take the labels of ``scores`` at ``size``, and with ``confidence`` both.

    Raises:
        ValueError: it cannot.
    """
    if confidence != (isinstance(out, tuple) and len(out) == 2):
        raise ValueError(
            f"out is a {type(out).__name__} with confidence={confidence}; expected a tuple of labels and probability "
            f"with it, and a tensor of labels without"
        )
    labels, *probability = out if confidence else (out,)
    shape = (scores.shape[0], *size)
    check_out(labels, shape, (label_dtype(scores.shape[1]),), scores.device)
    for tensor in probability:
        check_out(tensor, shape, (torch.float16, torch.float32), scores.device)
    return out


def _allocate(
    scores: Tensor,
    taps: Tensor | None,
    kernel: int,
    stride: int,
    offset: Sequence[int],
    size: Sequence[int],
    rule: str,
) -> Tensor:
    return scores.new_empty((scores.shape[0], *size), dtype=label_dtype(scores.shape[1]))


def _allocate_confidence(
    scores: Tensor,
    taps: Tensor | None,
    kernel: int,
    stride: int,
    offset: Sequence[int],
    size: Sequence[int],
    rule: str,
) -> tuple[Tensor, Tensor]:
    labels = _allocate(scores, taps, kernel, stride, offset, size, rule)
    return labels, torch.empty_like(labels, dtype=torch.float16)


def _launch(
    scores: Tensor,
    taps: Tensor | None,
    kernel: int,
    stride: int,
    offset: Sequence[int],
    size: Sequence[int],
    rule: str,
    labels: Tensor,
    probability: Tensor | None = None,
) -> None:
    from fcnrt_kernels.jit.upsample_argmax import upsample_argmax_dense_kernel, upsample_argmax_kernel

    batch, num_classes = scores.shape[:2]
    kind = launch.kind_of(rule, taps)
    second = labels if probability is None else probability
    args = (
        num_classes,
        *scores.shape[2:],
        *size,
        *offset,
        *scores.stride(),
        *labels.stride(),
        *second.stride(),
    )
    with launch.on_device(scores):
        if kind == launch.DENSE:
            matrix = select_matrix_tile(num_classes, num_classes, scores.element_size(), dense=True)
            upsample_argmax_dense_kernel[launch.phase_blocks(stride, offset, size, matrix.block_p), batch](
                scores,
                taps,
                labels,
                second,
                *args,
                KERNEL=kernel,
                STRIDE=stride,
                CONFIDENCE=probability is not None,
                BLOCK_P=matrix.block_p,
                BLOCK_C=matrix.block_c,
                BLOCK_K=matrix.block_k,
                num_warps=matrix.num_warps,
                num_stages=matrix.num_stages,
            )
        else:
            tile = select_pixel_tile(*size)
            blocks = launch.cdiv(size[0], tile.block_y) * launch.cdiv(size[1], tile.block_x)
            upsample_argmax_kernel[blocks, batch](
                scores,
                scores if taps is None else taps,  # bilinear weights are not read from memory
                labels,
                second,
                *args,
                *launch.coarse_per_output(rule, scores.shape[2:], size),
                KERNEL=kernel,
                STRIDE=stride,
                KIND=kind,
                CONFIDENCE=probability is not None,
                BLOCK_Y=tile.block_y,
                BLOCK_X=tile.block_x,
                num_warps=tile.num_warps,
            )


_SCHEMA = "(Tensor scores, Tensor? taps, int kernel, int stride, SymInt[] offset, SymInt[] size, str rule)"

_OP = Op(
    "upsample_argmax",
    f"{_SCHEMA} -> Tensor",
    check=check,
    twin=reference.upsample_argmax,
    allocate=_allocate,
    launch=_launch,
)

_OP_CONFIDENCE = Op(
    "upsample_argmax_confidence",
    f"{_SCHEMA} -> (Tensor, Tensor)",
    check=check,
    twin=reference.upsample_argmax_confidence,
    allocate=_allocate_confidence,
    launch=_launch,
)
