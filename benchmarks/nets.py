"""The nets and images that are timed: full-width FCN-8s on seeded weights, the trained demo net, drawn scenes."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.baselines import Runs
from benchmarks.contenders import Part
from fcnrt.demo.scenes import scene
from fcnrt.engine import Engine, Placement
from fcnrt.engine.fused import FusedFCN, _finish_by_stages
from fcnrt.measuring import plan_for
from fcnrt.models import FCN, FCN8s, create_model
from fcnrt.palettes import VOC_CLASSES, voc_palette
from fcnrt.plan.lowering import NotLowerableError
from fcnrt.preprocessing import PRESETS, normalize
from fcnrt.segmenter import Segmenter
from fcnrt.spec import ModelSpec
from fcnrt_kernels import upsample_argmax

ARCH = "fcn8s"
NORMALIZATION = PRESETS["caffe-voc"]


@functools.cache
def image(seed: int, height: int, width: int, batch: int = 1) -> Tensor:
    """Drawn scenes as network input, float32 ``[batch,3,height,width]`` on the CPU."""
    return normalize(pixels(seed, height, width, batch).permute(0, 3, 1, 2), NORMALIZATION)


@functools.cache
def pixels(seed: int, height: int, width: int, batch: int = 1) -> Tensor:
    """Drawn scenes as they come from files, uint8 ``[batch,height,width,3]`` on the CPU."""
    return torch.stack([torch.from_numpy(scene(seed + i, height, width)[0]) for i in range(batch)])


@functools.cache
@torch.inference_mode(False)  # nets made of these are converted and compiled outside, whoever asks for them first
def seeded_weights(width: float = 1.0, seed: int = 0) -> dict[str, Tensor]:
    """Weights of a 21-class FCN-8s that keep the size of activations from layer to layer (He et al. 2015).

    torch's default initialisation lets them fade away, and what would be compared then are the biases. The score
    layers, zero in a fresh net, are drawn like the others.
    """
    net = create_model(ARCH, len(VOC_CLASSES), width=width).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.in_channels * module.kernel_size[0] * module.kernel_size[1]
            module.weight.normal_(0, math.sqrt(2 / fan_in), generator=generator)
            assert module.bias is not None
            module.bias.normal_(0, 1, generator=generator)
    return dict(net.state_dict())


def seeded_net(device: torch.device, width: float = 1.0) -> FCN:
    """A net of its own on ``seeded_weights``; on the CPU it shares their memory until it is converted."""
    with torch.device("meta"):
        net = create_model(ARCH, len(VOC_CLASSES), width=width)
    net.load_state_dict(seeded_weights(width), assign=True)
    return net.eval().requires_grad_(False).to(device)


def seeded_segmenter(device: torch.device, dtype: torch.dtype, width: float = 1.0) -> Segmenter:
    """The same weights as ``fcnrt.load`` would return them."""
    classes = len(VOC_CLASSES)
    spec = ModelSpec(ARCH, classes, VOC_CLASSES, voc_palette(classes), NORMALIZATION, {"width": width})
    return Segmenter(spec, seeded_weights(width), Placement(device, dtype, "a benchmark asked for it"), "fused")


def segmenter_runs(model: Segmenter) -> Runs:
    """A Segmenter as a contender."""
    return Runs(model, model.predict_labels, lambda x: plan_for(model.engine.graph, x))


def pixel_runs(model: Segmenter) -> Runs:
    """A Segmenter as a contender that is given pixels and asked for labels."""

    def prepare(images: Tensor) -> None:
        plan_for(model.engine.graph, images.permute(0, 3, 1, 2))

    return Runs(None, model.engine.label_images, prepare)


def seeded_runs_without(
    parts: tuple[Part, ...], device: torch.device, dtype: torch.dtype, width: float = 1.0
) -> Runs:  # fmt: skip
    """The fused net on the same weights, without some of what makes it fast on a CPU."""
    with _selecting_without(parts):
        fused = FusedFCN(seeded_net(device, width), dtype, halo="halo" not in parts)

    def prepare(x: Tensor) -> None:
        plan_for(fused, x)

    if "decoder" not in parts:
        return Runs(fused, fused.predict_labels, prepare)
    net = EagerDecoding(fused, seeded_decoder(device, width))
    return Runs(net, lambda x: net(x).argmax(dim=1).to(torch.uint8), prepare)


def seeded_gpu_runs_without(
    parts: tuple[Part, ...], device: torch.device, dtype: torch.dtype, width: float = 1.0
) -> Runs:  # fmt: skip
    """The same on a GPU, as a CUDA graph; what our own convolutions leave is cuDNN's."""
    with contextlib.ExitStack() as patches:
        if "convolutions" in parts:
            patches.enter_context(mock.patch("fcnrt.engine.gpu.steps.find_obstacle", lambda x: "left out"))
        placement = Placement(device, dtype, "a benchmark asked for it")
        engine = Engine(seeded_net(device, width), placement, "fused", halo="halo" not in parts)
        if "launch" in parts:
            engine.graph = DecodingByLevels(seeded_net(device, width), dtype, halo="halo" not in parts)
    return Runs(engine, engine.predict_labels, lambda x: plan_for(engine.graph, x))


class DecodingByLevels(FusedFCN):
    """One launch for each refinement, and one for the labels."""

    def predict_labels(self, x: Tensor, confidence: bool = False) -> Any:
        return self._each_head(x, functools.partial(_finish_by_stages, upsample_argmax, confidence=confidence))


@contextlib.contextmanager
def _selecting_without(parts: tuple[Part, ...]) -> Iterator[None]:
    """The plan's choice of algorithms, which is made when weights are packed, with some of them out of reach."""
    with contextlib.ExitStack() as patches:
        if "winograd" in parts:
            patches.enter_context(mock.patch("fcnrt.plan.selection.WINOGRAD_FROM", {}))
        if "matrix" in parts:
            patches.enter_context(mock.patch("fcnrt.plan.selection.MATRIX_FROM", math.inf))
        yield


@functools.cache
def trunk_maps(device: torch.device, height: int, width: int) -> dict[str, Tensor]:
    """pool3, pool4 and fc7 of the full-width net for a scene, float32."""
    with torch.inference_mode():
        maps = seeded_net(device).features(image(1, height, width).to(device))
    return {name: maps[name] for name in ("pool3", "pool4", "fc7")}


class DecoderNet(FCN8s):
    """FCN-8s after its trunk, whose work is done already: call it with ``TrunkOutput``."""

    def features(self, x: TrunkOutput) -> dict[str, Tensor]:  # type: ignore[override]
        if not isinstance(x, TrunkOutput):
            raise NotLowerableError("there is no trunk to plan")
        return x.maps


class TrunkOutput:
    """Stands where the image stands: it has the image's shape, and the maps that the trunk made of it."""

    def __init__(self, maps: dict[str, Tensor], shape: tuple[int, int, int, int]) -> None:
        self.maps, self.shape = maps, shape
        self.device, self.is_cuda = maps["fc7"].device, maps["fc7"].is_cuda

    def to(self, **_: object) -> TrunkOutput:
        """The maps are in the type and layout that the trunk computes in."""
        return self


class EagerDecoding(nn.Module):
    """The trunk as the CPU engine runs it, and the eager decoder behind it.

    What the engine leaves out of the feature maps is filled up with zeros: the decoder crops it away.
    """

    def __init__(self, fused: FusedFCN, decoder: DecoderNet) -> None:
        super().__init__()
        assert fused.planned is not None
        self.planned, self.decoder = fused.planned, decoder

    def forward(self, x: Tensor) -> Tensor:
        """Scores of images ``[N,3,H,W]``."""
        schedule = self.planned.prepare(x.shape[2], x.shape[3]).schedule
        with self.planned.run(x) as features:
            maps = {}
            for name, feature in features.maps.items():
                whole = schedule.values[schedule.graph.outputs[name]].whole
                right = whole.width - feature.columns - feature.tensor.shape[3]
                below = whole.height - feature.rows - feature.tensor.shape[2]
                padding = feature.columns, right, feature.rows, below
                maps[name] = F.pad(feature.tensor, padding) if any(padding) else feature.tensor
            return self.decoder(TrunkOutput(maps, tuple(x.shape)))  # type: ignore[no-any-return,arg-type]


def seeded_decoder(device: torch.device, width: float = 1.0) -> DecoderNet:
    """The decoder of ``seeded_net``, without the weights of its trunk."""
    with torch.device("meta"):
        net = DecoderNet(len(VOC_CLASSES), width=width)
    net.load_state_dict(seeded_weights(width), assign=True)
    for name, _ in list(net.named_children()):
        if name.startswith(("conv", "fc")):
            delattr(net, name)
    return net.eval().requires_grad_(False).to(device)
