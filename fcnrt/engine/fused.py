"""The accelerated graph: a reference net's trunk, and its decoder in one fused op per stage."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcnrt.engine.taps import inspect_taps
from fcnrt.models import VGGFCN
from fcnrt.plan.windows import decoder_windows
from fcnrt_kernels import score_upsample_add, upsample_argmax, upsample_crop


class FusedFCN(nn.Module):
    """Runs ``net`` with the fused decoder ops in place of its score layers, deconvolutions, crops and additions.

    Args:
        net: a reference net in float32 on the device to run on. Its weights are shared where the type allows.
        dtype: of the trunk and of the skips' score layers. Scores are float32 from ``score_fr`` on: they are few,
            and they decide the label.
    """

    def __init__(self, net: VGGFCN, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.decoder = decoder = net.DECODER
        # Transposed convolutions and score layers first: the trunk's conversion below is in place.
        for stage in decoder.stages:
            weight = net.get_parameter(f"{stage.skip.score}.weight").detach()
            self._keep(f"{stage.skip.score}_weight", weight.flatten(1).to(dtype).contiguous())
            self._keep(f"{stage.skip.score}_bias", net.get_parameter(f"{stage.skip.score}.bias").detach())
        for up in (*(stage.upsample for stage in decoder.stages), decoder.final):
            self._keep(f"{up.name}_taps", inspect_taps(net.get_parameter(f"{up.name}.weight").detach()))
        self._keep(f"{decoder.score}_weight", net.get_parameter(f"{decoder.score}.weight").detach())
        self._keep(f"{decoder.score}_bias", net.get_parameter(f"{decoder.score}.bias").detach())
        self.trunk = net.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        """Normalised image ``[N,3,H,W]`` to logits, float32 ``[N,C,H,W]``."""
        scores, window = self._scores(x)
        return upsample_crop(scores, **window)

    def predict_labels(self, x: Tensor, confidence: bool = False) -> Any:
        """The same to labels, uint8 ``[N,H,W]``, and with ``confidence`` the winner's probability in float16."""
        scores, window = self._scores(x)
        return upsample_argmax(scores, confidence=confidence, **window)

    def _scores(self, x: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """Scores before the last upsampling, and what the last op has to know."""
        decoder = self.decoder
        maps = self.trunk.features(x.to(dtype=self.dtype, memory_format=torch.channels_last))
        coarsest = maps[decoder.feature]
        rows, columns = (
            decoder_windows(decoder, coarse, image)
            for coarse, image in zip(coarsest.shape[2:], x.shape[2:], strict=True)
        )
        coarsest = coarsest[
            :,
            :,
            rows.score.first : rows.score.first + rows.score.size,
            columns.score.first : columns.score.first + columns.score.size,
        ]
        scores = F.conv2d(coarsest.float(), self._kept(f"{decoder.score}_weight"), self._kept(f"{decoder.score}_bias"))
        for stage, row, column in zip(decoder.stages, rows.stages, columns.stages, strict=True):
            scores = score_upsample_add(
                scores,
                maps[stage.skip.feature],
                self._kept(f"{stage.skip.score}_weight"),
                self._kept(f"{stage.skip.score}_bias"),
                kernel=stage.upsample.kernel,
                stride=stage.upsample.stride,
                offset=(row.offset, column.offset),
                skip_offset=(row.skip_offset, column.skip_offset),
                size=(row.size, column.size),
                scale=stage.skip.scale,
                taps=self._buffers[f"{stage.upsample.name}_taps"],
            )
        return scores, {
            "kernel": decoder.final.kernel,
            "stride": decoder.final.stride,
            "offset": (rows.final.first, columns.final.first),
            "size": (rows.final.size, columns.final.size),
            "taps": self._buffers[f"{decoder.final.name}_taps"],
        }

    def _keep(self, name: str, tensor: Tensor | None) -> None:
        self.register_buffer(name, tensor, persistent=False)

    def _kept(self, name: str) -> Tensor:
        tensor = self._buffers[name]
        assert tensor is not None, name
        return tensor
