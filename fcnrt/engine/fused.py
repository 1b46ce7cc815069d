"""The accelerated graph: a reference net's trunk, and its decoders in one fused op per stage."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcnrt.engine.cpu import plan_on_cpu
from fcnrt.engine.features import FeatureMap, Features
from fcnrt.engine.planned import PlannedTrunk
from fcnrt.engine.taps import inspect_taps
from fcnrt.models import FCN
from fcnrt.models.batchnorm import fold_batchnorm
from fcnrt.models.decoder import Decoder, Deconvolution, Score, Upsampling
from fcnrt.plan.lowering import NotLowerableError
from fcnrt.plan.windows import Window, decoder_windows
from fcnrt_kernels import score_upsample_add, upsample_argmax, upsample_crop

logger = logging.getLogger(__name__)


class FusedFCN(nn.Module):
    """Runs ``net`` with the fused decoder ops in place of its score layers, upsamplings, crops and additions.

    On the CPU the trunk runs by its plan; a call that is being traced, and a net that cannot be planned, run its
    modules.

    Args:
        net: a reference net in float32 on the device to run on. Its weights are shared where the type allows.
        dtype: of the trunk and of the skips' score layers. Scores are float32 from the coarsest on: they are few,
            and they decide the label.
        halo: on the CPU, compute only what depends on the image.
    """

    def __init__(self, net: FCN, dtype: torch.dtype, *, halo: bool = True) -> None:
        super().__init__()
        self.dtype = dtype
        self.heads = net.heads
        fold_batchnorm(net)
        # The decoders' weights first, in float32: the trunk's conversion below is in place.
        for decoder in net.heads.values():
            for score in decoder.scores:
                self._keep(score.layer, "weight", net.get_parameter(f"{score.layer}.weight").detach())
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
        self.planned = None
        if next(net.parameters()).device.type == "cpu":
            self.planned = _plan(net, dtype, halo)
            self.trunk = net.to(dtype=dtype)
        else:
            self.trunk = net.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Any:
        """Normalised image to logits, float32 ``[N,C,H,W]``; a dict of them by head if several."""
        return self._each_head(x, upsample_crop)

    def predict_labels(self, x: Tensor, confidence: bool = False) -> Any:
        """The same to labels, uint8 ``[N,H,W]``, and with ``confidence`` the winner's probability in float16."""
        return self._each_head(x, upsample_argmax, confidence=confidence)

    def _each_head(self, x: Tensor, finish: Callable[..., Any], **options: Any) -> Any:
        if self.planned is None or torch.compiler.is_compiling() or not x.numel():
            return self._decode_all(self._features(x), finish, options)
        with self.planned.run(x) as features:
            return self._decode_all(features, finish, options)

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

    def _decode_all(self, features: Features, finish: Callable[..., Any], options: dict[str, Any]) -> Any:
        results = {name: self._decode(decoder, features, name, finish, options) for name, decoder in self.heads.items()}
        return results if len(results) > 1 else next(iter(results.values()))

    def _decode(
        self, decoder: Decoder, features: Features, head: str, finish: Callable[..., Any], options: dict[str, Any]
    ) -> Any:
        rows, columns = features.windows[head]
        scores = self._score(decoder.scores[0], features, rows.score, columns.score)
        for score in decoder.scores[1:]:
            scores = scores + self._score(score, features, rows.score, columns.score)
        for stage, row, column in zip(decoder.stages, rows.stages, columns.stages, strict=True):
            skip = features.maps[stage.skip.feature]
            scores = score_upsample_add(
                scores,
                skip.tensor,
                self._kept(stage.skip.layer, "weight"),
                self._kept(stage.skip.layer, "bias"),
                size=(row.size, column.size),
                skip_offset=(row.skip_offset - skip.rows, column.skip_offset - skip.columns),
                offset=(row.offset, column.offset),
                scale=stage.skip.scale,
                **self._how(stage.upsampling),
            )
        return finish(
            scores,
            size=(rows.final.size, columns.final.size),
            offset=(rows.final.first, columns.final.first),
            **self._how(decoder.final),
            **options,
        )

    def _score(self, score: Score, features: Features, rows: Window, columns: Window) -> Tensor:
        feature = features.maps[score.feature]
        window = feature.tensor.narrow(2, rows.first - feature.rows, rows.size)
        window = window.narrow(3, columns.first - feature.columns, columns.size)
        scores = F.conv2d(window.float(), self._kept(score.layer, "weight"), self._kept(score.layer, "bias"))
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


def _buffer_name(layer: str, part: str) -> str:
    """Layers may have dotted names, buffers may not."""
    return f"{layer}.{part}".replace(".", "_")


def _plan(net: FCN, dtype: torch.dtype, halo: bool) -> PlannedTrunk | None:
    try:
        return plan_on_cpu(net, dtype, halo=halo)
    except NotLowerableError as reason:
        logger.info("the trunk runs module by module: %s", reason)
        return None
