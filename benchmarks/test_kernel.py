"""Each fused op beside the layers that it replaces, at the sizes that it has in FCN-8s with 21 classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import nets
from benchmarks.baselines import Runs
from benchmarks.compositions import KINDS, Deconvolved, ScoreUpsampleAdd, UpsampleCrop, cut, deconvolution_weight
from benchmarks.contenders import Contender
from benchmarks.workload import Given, Output, Workload
from fcnrt.engine.taps import inspect_taps
from fcnrt.models import FCN8s
from fcnrt.models.decoder import Deconvolution, Upsampling
from fcnrt.plan.windows import DecoderWindows, decoder_windows
from fcnrt_kernels import score_upsample_add, upsample_argmax, upsample_crop

SIZES = [(375, 500), (500, 500)]
DECODER = FCN8s.DECODER
CLASSES = 21

Size = tuple[int, int]
by_size = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")


@pytest.mark.parametrize("stage", [0, 1], ids=lambda stage: DECODER.stages[stage].skip.feature)
@by_size
def test_score_upsample_add(
    size: Size, stage: int, contender: Contender, device: torch.device, compete: Callable[..., None]
) -> None:
    """Upsample the scores so far, score a skip and add it."""
    feature = DECODER.stages[stage].skip.feature
    eager = _refinement(device, size, stage)
    workload = Workload(
        title=f"score + upsample + crop + add, {feature} of {size[0]}x{size[1]}",
        given=(
            Given("scores", _scores(device, size, stage)),
            Given("map", nets.trunk_maps(device, *size)[feature]),
        ),
        eager=lambda: _refinement(device, size, stage),
        fused=lambda dtype: _fused_refinement(eager, dtype),
    )
    compete(workload, "scores", contender)


@pytest.mark.parametrize("output", ["scores", "labels"])
@pytest.mark.parametrize(
    ("size", "kind"),
    [(SIZES[0], "bilinear"), *((SIZES[1], kind) for kind in KINDS)],
    ids=lambda value: value if isinstance(value, str) else f"{value[0]}x{value[1]}",
)
def test_upsample(
    size: Size,
    kind: str,
    output: Output,
    contender: Contender,
    device: torch.device,
    compete: Callable[..., None],
) -> None:
    """Upsample the last scores to pixels, crop, and take the best class where labels are asked for."""
    if contender.kind == "fcnrt" and contender.dtype != torch.float32:
        pytest.skip("the last scores are float32 whatever the trunk computes in")
    rows, columns = _windows(device, size)
    final = _deconvolution(DECODER.final)
    window = Deconvolved(
        weight=deconvolution_weight(kind, CLASSES, final.kernel).to(device),
        stride=final.stride,
        offset=(rows.final.first, columns.final.first),
        size=size,
    )
    how = _arguments(window)
    workload = Workload(
        title=f"upsample + crop, {kind}, {size[0]}x{size[1]}",
        given=(Given("scores", _scores(device, size, len(DECODER.stages))),),
        eager=lambda: UpsampleCrop(window),
        fused=lambda _: Runs(
            lambda scores: upsample_crop(scores, **how), lambda scores: upsample_argmax(scores, **how)
        ),
    )
    compete(workload, output, contender)


def _refinement(device: torch.device, size: Size, index: int) -> ScoreUpsampleAdd:
    """The layers of one stage of the decoder, on the part of its maps that is used."""
    module = UpsampleCrop(_refinement_window(device, size, index))
    layer = DECODER.stages[index].skip.layer
    weight, bias = (nets.seeded_weights()[f"{layer}.{part}"] for part in ("weight", "bias"))
    rows, columns = (windows.stages[index] for windows in _windows(device, size))
    return ScoreUpsampleAdd(module, weight.flatten(1), bias, (rows.skip_offset, columns.skip_offset)).to(device)


def _refinement_window(device: torch.device, size: Size, index: int) -> Deconvolved:
    upsampling = _deconvolution(DECODER.stages[index].upsampling)
    rows, columns = (windows.stages[index] for windows in _windows(device, size))
    return Deconvolved(
        weight=deconvolution_weight("bilinear", CLASSES, upsampling.kernel),
        stride=upsampling.stride,
        offset=(rows.offset, columns.offset),
        size=(rows.size, columns.size),
    )


def _fused_refinement(eager: ScoreUpsampleAdd, dtype: torch.dtype) -> Runs:
    up = eager.upsample
    assert isinstance(up, UpsampleCrop)
    how = _arguments(Deconvolved(up.up.weight, up.up.stride[0], up.offset, up.size))
    weight, bias = eager.score.weight.flatten(1).to(dtype), eager.score.bias
    assert bias is not None

    def run(coarse: Tensor, skip: Tensor) -> Tensor:
        return score_upsample_add(coarse, skip, weight, bias, skip_offset=eager.skip_offset, **how)

    return Runs(run, None)


def _arguments(window: Deconvolved) -> dict[str, Any]:
    """``window`` as the fused ops take it, its weights inspected as the engine inspects them."""
    return {
        "kernel": window.kernel,
        "stride": window.stride,
        "offset": window.offset,
        "size": window.size,
        "taps": inspect_taps(window.weight),
    }


def _deconvolution(upsampling: Upsampling) -> Deconvolution:
    assert isinstance(upsampling, Deconvolution)
    return upsampling


def _windows(device: torch.device, size: Size) -> tuple[DecoderWindows, DecoderWindows]:
    maps = nets.trunk_maps(device, *size)
    rows, columns = (
        decoder_windows(DECODER, {name: feature.shape[axis] for name, feature in maps.items()}, size[axis])
        for axis in (-2, -1)
    )
    return rows, columns


def _scores(device: torch.device, size: Size, stages: int) -> Tensor:
    """The scores that the net has after so many refinements, of which only the used part is computed."""
    maps, weights = nets.trunk_maps(device, *size), nets.seeded_weights()
    rows, columns = (windows.score for windows in _windows(device, size))
    coarsest = cut(maps["fc7"], (rows.first, columns.first), (rows.size, columns.size))
    with torch.inference_mode():
        scores = F.conv2d(coarsest, weights["score_fr.weight"].to(device), weights["score_fr.bias"].to(device))
        for index in range(stages):
            scores = _refinement(device, size, index)(scores, maps[DECODER.stages[index].skip.feature])
    return scores
