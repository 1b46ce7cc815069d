"""Whole nets, from a normalised image to logits or labels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import fcnrt
from benchmarks import nets
from benchmarks.baselines import Runs
from benchmarks.contenders import Contender
from benchmarks.workload import Given, Output, Workload
from fcnrt.engine.fused import FusedFCN
from fcnrt.measuring import plan_for
from fcnrt.models import FCN

ON_GPU = torch.cuda.is_available()
FULL_WIDTH_SIZES = [(375, 500), (500, 500)] if ON_GPU else [(375, 500)]


class FromImage(nn.Module):
    """An eager net with the conversion of its input, which is part of the time: the image comes in float32."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.to(next(self.net.parameters()).dtype))  # type: ignore[no-any-return]


class FromPixels(nn.Module):
    """An eager net with all that is done to its input, which comes in uint8, ``[N,H,W,3]``."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        rule, device = nets.NORMALIZATION, next(net.parameters()).device
        assert (rule.order, rule.scale, rule.std) == ("bgr", 1.0, (1.0, 1.0, 1.0))
        self.mean = torch.tensor(rule.mean, device=device).view(1, 3, 1, 1)  # no buffer: it keeps its bits

    def forward(self, images: Tensor) -> Tensor:
        x = images.flip(3).permute(0, 3, 1, 2).float() - self.mean
        return self.net(x.to(next(self.net.parameters()).dtype))  # type: ignore[no-any-return]


@pytest.mark.parametrize("output", ["scores", "labels"])
@pytest.mark.parametrize("size", FULL_WIDTH_SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_full_width(
    size: tuple[int, int], output: Output, contender: Contender, device: torch.device, compete: Callable[..., None]
) -> None:
    """FCN-8s on VGG16 as it is, with seeded random weights."""
    workload = Workload(
        title=f"FCN-8s, full width, {size[0]}x{size[1]}",
        given=(Given("image", nets.image(0, *size).to(device)),),
        eager=lambda: FromImage(nets.seeded_net(device)),
        fused=lambda dtype: nets.segmenter_runs(nets.seeded_segmenter(device, dtype)),
        fused_without=lambda dtype, parts: nets.seeded_runs_without(parts, device, dtype),
    )
    compete(workload, output, contender)


@pytest.mark.skipif(not ON_GPU, reason="on a CPU images are normalised first, a thousandth of the time")
@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("size", FULL_WIDTH_SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_full_width_from_pixels(
    size: tuple[int, int], batch: int, contender: Contender, device: torch.device, compete: Callable[..., None]
) -> None:
    """The same net, from uint8 images on the device to uint8 labels there."""
    workload = Workload(
        title=f"FCN-8s, full width, {size[0]}x{size[1]}, batch {batch}, from pixels",
        given=(Given("image", nets.pixels(0, *size, batch).to(device)),),
        eager=lambda: FromPixels(nets.seeded_net(device)),
        fused=lambda dtype: nets.pixel_runs(nets.seeded_segmenter(device, dtype)),
    )
    compete(workload, "labels", contender)


@pytest.mark.parametrize("output", ["scores", "labels"])
def test_demo(output: Output, contender: Contender, device: torch.device, compete: Callable[..., None]) -> None:
    """The trained demo net on a scene that it has not seen."""
    from fcnrt.demo import demo_checkpoint, sample_images
    from fcnrt.images import read_image
    from fcnrt.preprocessing import normalize

    checkpoint = demo_checkpoint()
    reference = fcnrt.load(checkpoint, device=device, dtype=torch.float32)
    pixels = torch.from_numpy(read_image(sample_images()[0])).permute(2, 0, 1)[None]
    x = normalize(pixels, reference.spec.normalization).to(device)
    workload = Workload(
        title=f"demo net, {x.shape[2]}x{x.shape[3]}",
        given=(Given("image", x),),
        eager=lambda: FromImage(reference.reference),
        fused=lambda dtype: nets.segmenter_runs(fcnrt.load(checkpoint, device=device, dtype=dtype)),
        trained=True,
        fused_without=lambda dtype, _: _without_halo(
            fcnrt.load(checkpoint, device=device, dtype=dtype).reference, dtype
        ),
    )
    compete(workload, output, contender)


def _without_halo(net: FCN, dtype: torch.dtype) -> Runs:
    fused = FusedFCN(net, dtype, halo=False)
    return Runs(fused, fused.predict_labels, lambda x: plan_for(fused, x))
