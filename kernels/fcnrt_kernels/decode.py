"""The whole decoder after the coarsest scores, in one launch: skips, upsamplings, crops, argmax.

    scores = upsample(scores) + crop(scale * weight @ skip + bias)      for each skip, coarsest first
    labels = argmax_c crop(upsample(scores))

(Long, Shelhamer, Darrell, section 4.2; everything after ``score_fr`` in ``voc-fcn8s/net.py``.) Nothing but the labels
is left: a program computes the scores that its tile of labels needs, level by level, in float32. Scores at the edge of
a tile are computed by its neighbours too: a 500x500 image with 21 classes, in tiles of 64x32 pixels, takes 0.13 GFLOP
of score layers instead of 0.07, and reads 6.1 MB of 16-bit skips instead of 3.4 MB, the difference from the caches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from fcnrt_kernels import launch, reference
from fcnrt_kernels.checks import TRANSPOSED, check_scores, check_skip, check_upsampling
from fcnrt_kernels.decode_config import MAX_PROGRAMS, select_decode_tile
from fcnrt_kernels.op import Op
from fcnrt_kernels.reference import label_dtype
from fcnrt_kernels.score_upsample_add import score_upsample_add
from fcnrt_kernels.upsample_argmax import check_labels_out, upsample_argmax


@dataclass(frozen=True)
class Refinement:
    """One skip and the upsampling before it: the arguments of ``score_upsample_add`` but for the coarse scores."""

    skip: Tensor
    weight: Tensor
    bias: Tensor
    size: Sequence[int]
    skip_offset: Sequence[int]
    kernel: int = 1
    stride: int = 1
    offset: Sequence[int] = (0, 0)
    scale: float = 1.0
    taps: Tensor | None = None
    rule: str = TRANSPOSED


def decode_labels(
    scores: Tensor,
    refinements: Sequence[Refinement],
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
    """The best class of each pixel, from the coarsest scores and the skips.

    Args:
        scores: ``[N,C,h,w]``; float32, float16 or bfloat16, any strides.
        refinements: coarsest first; none for a decoder without skips.
        size, kernel, stride, offset, taps, rule: of the last upsampling, as in ``upsample_crop``.
        confidence: also return the winner's softmax probability.
        out: where to write: labels ``[N,*size]`` in uint8 (int32 past 255 classes), and with ``confidence`` a
            tuple of them and float16 or float32 ``[N,*size]``; any strides. New tensors if None.

    Returns:
        The labels, or ``(labels, probability)``; a new probability is float16.

    Raises:
        ValueError: shapes, types, devices or windows that do not fit each other.
    """
    levels = [*refinements]
    args = (
        scores,
        [level.skip for level in levels],
        [level.weight for level in levels],
        [level.bias for level in levels],
        [level.scale for level in levels],
        [n for level in levels for n in level.skip_offset],
        [*(level.taps for level in levels), taps],
        [*(level.kernel for level in levels), kernel],
        [*(level.stride for level in levels), stride],
        [*(n for level in levels for n in level.offset), *offset],
        [*(n for level in levels for n in level.size), *size],
        [*(level.rule for level in levels), rule],
    )
    op = _OP_CONFIDENCE if confidence else _OP
    if out is None:
        return op(*args)
    return op.into(check_labels_out(out, scores, size, confidence), *args)


def choose_decoder(refinements: Sequence[Refinement], rule: str = TRANSPOSED) -> tuple[Literal["one", "several"], str]:
    """Whether one launch makes the labels or one for each level, and why."""
    return _choice([level.rule for level in refinements] + [rule])


def _choice(rules: Sequence[str]) -> tuple[Literal["one", "several"], str]:
    if len(rules) == 1:
        return "one", "without skips the last upsampling is all there is"
    if len(rules) > 3:
        return "several", f"{len(rules) - 1} skips; one launch takes up to two"
    resized = [rule for rule in rules if rule != TRANSPOSED]
    if resized:
        return "several", f"a tile of labels reaches no fixed number of scores by {resized[0]} interpolation"
    return "one", "each tile of labels computes the few scores that it needs"


def _check(
    scores: Tensor,
    skips: Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    scales: Sequence[float],
    skip_offsets: Sequence[int],
    taps: Sequence[Tensor | None],
    kernels: Sequence[int],
    strides: Sequence[int],
    offsets: Sequence[int],
    sizes: Sequence[int],
    rules: Sequence[str],
) -> None:
    check_scores("scores", scores)
    coarse = scores
    for level, rule in enumerate(rules):
        pair = slice(2 * level, 2 * level + 2)
        try:
            check_upsampling(coarse, taps[level], kernels[level], strides[level], offsets[pair], sizes[pair], rule)
            if level < len(skips):
                check_skip(coarse, skips[level], weights[level], biases[level], skip_offsets[pair], sizes[pair])
        except ValueError as error:
            where = f"refinement {level}" if level < len(skips) else "the last upsampling"
            raise ValueError(f"{where}: {error}") from None
        coarse = scores[:, :, :1, :1].expand(-1, -1, *sizes[pair])  # what the level gives, as far as checks can see


def _allocate(scores: Tensor, *args: Any) -> Tensor:
    sizes: Sequence[int] = args[-2]  # of the schema below
    return scores.new_empty((scores.shape[0], *sizes[-2:]), dtype=label_dtype(scores.shape[1]))


def _allocate_confidence(scores: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
    labels = _allocate(scores, *args)
    return labels, torch.empty_like(labels, dtype=torch.float16)


def _launch(
    scores: Tensor,
    skips: Sequence[Tensor],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    scales: Sequence[float],
    skip_offsets: Sequence[int],
    taps: Sequence[Tensor | None],
    kernels: Sequence[int],
    strides: Sequence[int],
    offsets: Sequence[int],
    sizes: Sequence[int],
    rules: Sequence[str],
    labels: Tensor,
    probability: Tensor | None = None,
) -> None:
    how = list(zip(taps, kernels, strides, _pairs(offsets), _pairs(sizes), rules, strict=True))
    out = labels if probability is None else (labels, probability)
    if not skips or _choice(rules)[0] == "several":
        names = ("taps", "kernel", "stride", "offset", "size", "rule")
        for skip, weight, bias, scale, skip_offset, level in zip(
            skips, weights, biases, scales, _pairs(skip_offsets), how, strict=False
        ):
            fine = scores.new_empty((*scores.shape[:2], *level[4]), dtype=torch.float32)
            upsampling: dict[str, Any] = dict(zip(names, level, strict=True))
            scores = score_upsample_add(
                scores, skip, weight, bias, skip_offset=skip_offset, scale=scale, out=fine, **upsampling
            )
        upsampling = dict(zip(names, how[-1], strict=True))
        upsample_argmax(scores, confidence=probability is not None, out=out, **upsampling)
        return
    from fcnrt_kernels.jit.decode import decode_labels_kernel

    kinds = [launch.kind_of(rule, tap) for rule, tap in zip(rules, taps, strict=True)]
    batch, num_classes = scores.shape[:2]
    (offset_y, offset_x), (height, width), stride = how[-1][3], how[-1][4], strides[-1]
    cells = [
        (first + length - 1) // stride - first // stride + 1
        for first, length in ((offset_y, height), (offset_x, width))
    ]
    tile = select_decode_tile(
        num_classes,
        max(skip.shape[1] for skip in skips),
        max(skip.element_size() for skip in skips),
        batch,
        cells,
        kernels,
        strides,
        [kind == launch.DENSE for kind in kinds],
    )
    tiles = batch * launch.cdiv(cells[0], tile.cells_y) * launch.cdiv(cells[1], tile.cells_x)
    programs = min(tiles, MAX_PROGRAMS)
    scratch = scores.new_empty(programs * num_classes * tile.scratch, dtype=torch.float32)
    # With one skip the kernel's first level is not compiled, and the second stands for both.
    first, last = 0, len(skips) - 1
    second = labels if probability is None else probability
    with launch.on_device(scores):
        decode_labels_kernel[(programs,)](
            scores,
            *(
                tensor
                for level in (first, last)
                for tensor in (skips[level], weights[level], biases[level], _read(taps[level], biases[level]))
            ),
            _read(taps[-1], scores),
            scratch,
            labels,
            second,
            scales[first],
            scales[last],
            batch,
            num_classes,
            skips[first].shape[1],
            skips[last].shape[1],
            *scores.shape[2:],
            *how[first][4] if last else scores.shape[2:],  # what the second level refines
            *how[last][4],
            height,
            width,
            *how[first][3],
            *how[last][3],
            offset_y,
            offset_x,
            *skip_offsets[:2],
            *skip_offsets[-2:],
            *scores.stride(),
            *skips[first].stride(),
            *skips[last].stride(),
            *labels.stride(),
            *second.stride(),
            LEVELS=len(skips),
            KERNEL1=kernels[first],
            STRIDE1=strides[first],
            KIND1=kinds[first],
            KERNEL2=kernels[last],
            STRIDE2=strides[last],
            KIND2=kinds[last],
            KERNEL=kernels[-1],
            STRIDE=stride,
            KIND=kinds[-1],
            CONFIDENCE=probability is not None,
            PRECISION=launch.dot_precision(),
            ROWS1=tile.rows[first],
            COLUMNS1=tile.columns[first],
            ROWS2=tile.rows[last],
            COLUMNS2=tile.columns[last],
            CELLS_Y=tile.cells_y,
            CELLS_X=tile.cells_x,
            BLOCK_P1=tile.blocks[first],
            BLOCK_P2=tile.blocks[last],
            BLOCK_C=tile.block_c,
            BLOCK_K=tile.block_k,
            BLOCK_Q=tile.block_q,
            num_warps=tile.num_warps,
            num_stages=tile.num_stages,
        )


def _pairs(values: Sequence[int]) -> list[Sequence[int]]:
    """Rows and columns, level by level."""
    return [values[index : index + 2] for index in range(0, len(values), 2)]


def _read(taps: Tensor | None, other: Tensor) -> Tensor:
    """The taps; bilinear weights are not read from memory, and any tensor will do."""
    return other if taps is None else taps


_SCHEMA = (
    "(Tensor scores, Tensor[] skips, Tensor[] weights, Tensor[] biases, float[] scales, SymInt[] skip_offsets, "
    "Tensor?[] taps, int[] kernels, int[] strides, SymInt[] offsets, SymInt[] sizes, str[] rules)"
)

_OP = Op(
    "decode_labels",
    f"{_SCHEMA} -> Tensor",
    check=_check,
    twin=reference.decode_labels,
    allocate=_allocate,
    launch=_launch,
)

_OP_CONFIDENCE = Op(
    "decode_labels_confidence",
    f"{_SCHEMA} -> (Tensor, Tensor)",
    check=_check,
    twin=reference.decode_labels_confidence,
    allocate=_allocate_confidence,
    launch=_launch,
)
