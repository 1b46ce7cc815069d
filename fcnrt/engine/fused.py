"""The accelerated graph: a reference net's trunk, and its decoders in one fused op per stage."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fcnrt_kernels
from fcnrt.engine.cpu import plan_on_cpu
from fcnrt.engine.cpu.decoding import label_strips
from fcnrt.engine.features import FeatureMap, Features
from fcnrt.engine.gpu import plan_on_gpu, take_pixels
from fcnrt.engine.planned import PlannedTrunk
from fcnrt.engine.scaling import fold_scales
from fcnrt.engine.taps import inspect_taps
from fcnrt.errors import InputError
from fcnrt.models import FCN
from fcnrt.models.batchnorm import fold_batchnorm
from fcnrt.models.decoder import Decoder, Deconvolution, Score, Stage, Upsampling
from fcnrt.plan.lowering import NotLowerableError
from fcnrt.plan.windows import StageWindow, Window, decoder_windows
from fcnrt.preprocessing import Normalization
from fcnrt_kernels import (
    Refinement,
    choose_decoder,
    decode_labels,
    score_upsample_add,
    upsample_argmax,
    upsample_crop,
)
from fcnrt_kernels.checks import TRANSPOSED
from fcnrt_kernels.dispatch import runs_triton
from fcnrt_kernels.packing import pack_score

logger = logging.getLogger(__name__)

Finish: TypeAlias = Callable[[Tensor, "Sequence[dict[str, Any]]", "dict[str, Any]"], Any]
"""From the coarsest scores on: makes the results of the refinements, and of the last upsampling."""


class FusedFCN(nn.Module):
    """Runs ``net`` with the fused decoder ops in place of its score layers, upsamplings, crops and additions.

    The trunk runs by its plan, and where the Triton kernels run, labels come from the decoder in one launch. A call
    that is being traced, and a net that cannot be planned, run its modules.

    Args:
        net: a reference net in float32 on the device to run on. Its weights are shared where the type allows.
        dtype: of the trunk and of the skips' score layers. Scores are float32 from the coarsest on: they are few,
            and they decide the label.
        halo: compute only what depends on the image.
        calibration: normalised images ``[N,C,H,W]`` that show how large activations become, for int8 and float16.
            Without any, float16 takes activations as they are.

    Raises:
        InputError: int8, and the net has no 8-bit form; float16, and it does not hold the net's numbers.
    """

    def __init__(self, net: FCN, dtype: torch.dtype, *, halo: bool = True, calibration: Sequence[Tensor] = ()) -> None:
        super().__init__()
        chosen = dtype
        # Modules and decoders have no 8-bit form; only the planned trunk has.
        self.dtype = dtype = torch.float32 if chosen == torch.int8 else chosen
        fold_batchnorm(net)
        if chosen == torch.float16 and calibration:
            fold_scales(net, calibration)
        self.heads = net.heads
        # The decoders' weights first, in float32: the trunk's conversion below is in place.
        for decoder in net.heads.values():
            for score in decoder.scores:
                weight = net.get_parameter(f"{score.layer}.weight").detach()
                self._keep(score.layer, "weight", weight)
                self._keep(score.layer, "terms", pack_score(weight, dtype) if runs_triton(weight) else None)
                self._keep(score.layer, "bias", net.get_parameter(f"{score.layer}.bias").detach())
            for stage in decoder.stages:
                layer = stage.skip.layer
                weight = net.get_parameter(f"{layer}.weight").detach().flatten(1)
                self._keep(layer, "weight", weight.to(dtype).contiguous())
                self._keep(layer, "bias", net.get_parameter(f"{layer}.bias").detach())
            for upsampling in decoder.upsamplings:
                if isinstance(upsampling, Deconvolution):
                    weight = net.get_parameter(f"{upsampling.name}.weight").detach()
                    self._keep(upsampling.name, "taps", inspect_taps(weight))
        self.planned = _plan(net, chosen, halo, calibration)
        if next(net.parameters()).device.type == "cpu":
            self.trunk = net.to(dtype=dtype)
        else:
            self.trunk = net.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Any:
        """Normalised image to logits, float32 ``[N,C,H,W]``; a dict of them by head if several."""
        return self._each_head(x, functools.partial(_finish_by_stages, upsample_crop))

    def predict_labels(self, x: Tensor, confidence: bool = False) -> Any:
        """The same to labels, uint8 ``[N,H,W]``, and with ``confidence`` the winner's probability in float16."""
        if runs_triton(x) and not torch.compiler.is_compiling():
            return self._each_head(x, functools.partial(_finish_in_one, confidence=confidence))
        # What is traced needs an op; a loop over strips would be unrolled.
        label = upsample_argmax if torch.compiler.is_compiling() or x.device.type != "cpu" else label_strips
        return self._each_head(x, functools.partial(_finish_by_stages, label, confidence=confidence))

    def take_pixels(self, normalization: Normalization) -> bool:
        """Let ``predict_labels`` also take uint8 images, RGB, ``[N,3,H,W]``, and normalise them while it reads them.

        Returns whether it does; it cannot on a CPU, nor where anything but the first convolution reads the images.
        """
        return self.planned is not None and take_pixels(self.planned, normalization)

    def decoder_choices(self) -> dict[str, tuple[str, str]]:
        """Of each head: whether one launch makes its labels or one for each level, and why."""
        nothing = next(self.trunk.parameters()).new_empty(0)
        if not runs_triton(nothing):
            return dict.fromkeys(self.heads, ("several", "in torch: no Triton kernel runs here"))
        choices: dict[str, tuple[str, str]] = {}
        for name, decoder in self.heads.items():
            stages = [
                Refinement(nothing, nothing, nothing, (1, 1), (0, 0), **self._how(stage.upsampling))
                for stage in decoder.stages
            ]
            choices[name] = choose_decoder(stages, self._how(decoder.final).get("rule", TRANSPOSED))
        return choices

    def _each_head(self, x: Tensor, finish: Finish) -> Any:
        if self.planned is None or torch.compiler.is_compiling() or not x.numel():
            return self._decode_all(self._features(x), finish)
        with self.planned.run(x) as features:
            return self._decode_all(features, finish)

    def _features(self, x: Tensor) -> Features:
        """The trunk's modules, run one by one."""
        maps = self.trunk.features(x.to(dtype=self.dtype, memory_format=torch.channels_last))
        windows = {}
        for name, decoder in self.heads.items():
            rows, columns = (
                decoder_windows(decoder, {name: maps[name].shape[axis] for name in maps}, x.shape[axis])
                for axis in (-2, -1)
            )
            windows[name] = rows, columns
        return Features({name: FeatureMap(feature) for name, feature in maps.items()}, windows)

    def _decode_all(self, features: Features, finish: Finish) -> Any:
        results = {name: self._decode(decoder, features, name, finish) for name, decoder in self.heads.items()}
        return results if len(results) > 1 else next(iter(results.values()))

    def _decode(self, decoder: Decoder, features: Features, head: str, finish: Finish) -> Any:
        rows, columns = features.windows[head]
        scores = self._score(decoder.scores[0], features, rows.score, columns.score)
        for score in decoder.scores[1:]:
            scores = scores + self._score(score, features, rows.score, columns.score)
        stages = [
            self._stage(stage, features, row, column)
            for stage, row, column in zip(decoder.stages, rows.stages, columns.stages, strict=True)
        ]
        last = {
            "size": (rows.final.size, columns.final.size),
            "offset": (rows.final.first, columns.final.first),
            **self._how(decoder.final),
        }
        return finish(scores, stages, last)

    def _stage(self, stage: Stage, features: Features, row: StageWindow, column: StageWindow) -> dict[str, Any]:
        """A refinement as the ops' arguments."""
        skip = features.maps[stage.skip.feature]
        return {
            "skip": skip.tensor,
            "weight": self._kept(stage.skip.layer, "weight"),
            "bias": self._kept(stage.skip.layer, "bias"),
            "size": (row.size, column.size),
            "skip_offset": (row.skip_offset - skip.rows, column.skip_offset - skip.columns),
            "offset": (row.offset, column.offset),
            "scale": stage.skip.scale,
            **self._how(stage.upsampling),
        }

    def _score(self, score: Score, features: Features, rows: Window, columns: Window) -> Tensor:
        feature, bias = features.maps[score.feature], self._kept(score.layer, "bias")
        first = rows.first - feature.rows, columns.first - feature.columns
        if runs_triton(feature.tensor):
            terms = self._kept(score.layer, "terms")
            scores = fcnrt_kernels.score(feature.tensor, terms, bias, size=(rows.size, columns.size), offset=first)
        else:
            window = feature.tensor.narrow(2, first[0], rows.size).narrow(3, first[1], columns.size)
            scores = F.conv2d(window.float(), self._kept(score.layer, "weight"), bias)
        return scores if score.weight == 1.0 else scores * score.weight

    def _how(self, upsampling: Upsampling) -> dict[str, Any]:
        """``upsampling`` as the ops' arguments."""
        if not isinstance(upsampling, Deconvolution):
            return {"rule": upsampling.rule}
        taps = self._buffers[_buffer_name(upsampling.name, "taps")]
        return {"kernel": upsampling.kernel, "stride": upsampling.stride, "taps": taps}

    def _keep(self, layer: str, part: str, tensor: Tensor | None) -> None:
        self.register_buffer(_buffer_name(layer, part), tensor, persistent=False)

    def _kept(self, layer: str, part: str) -> Tensor:
        tensor = self._buffers[_buffer_name(layer, part)]
        assert tensor is not None, layer
        return tensor


def _finish_by_stages(
    op: Callable[..., Any], scores: Tensor, stages: Sequence[dict[str, Any]], last: dict[str, Any], **options: Any
) -> Any:
    """One op for each refinement, then ``op``."""
    for stage in stages:
        scores = score_upsample_add(scores, **stage)
    return op(scores, **last, **options)


def _finish_in_one(
    scores: Tensor, stages: Sequence[dict[str, Any]], last: dict[str, Any], *, confidence: bool
) -> Any:  # fmt: skip
    """Labels in one launch, where the decoder allows it."""
    return decode_labels(scores, [Refinement(**stage) for stage in stages], **last, confidence=confidence)


def _buffer_name(layer: str, part: str) -> str:
    """Layers may have dotted names, buffers may not."""
    return f"{layer}.{part}".replace(".", "_")


def _plan(net: FCN, dtype: torch.dtype, halo: bool, calibration: Sequence[Tensor]) -> PlannedTrunk | None:
    weight = next(net.parameters())
    try:
        if dtype != torch.int8 and (weight.is_cuda or runs_triton(weight)):
            return plan_on_gpu(net, dtype, halo=halo)
        return plan_on_cpu(net, dtype, halo=halo, calibration=calibration)
    except NotLowerableError as reason:
        if dtype == torch.int8:
            raise InputError(f"{type(net).__name__} has no 8-bit form: {reason}; load it in float32") from reason
        logger.info("the trunk runs module by module: %s", reason)
        return None
