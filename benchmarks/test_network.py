"""Whole nets, from a normalised image to logits or labels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import fcnrt
from benchmarks import nets
from benchmarks.baselines import Runs
from benchmarks.contenders import REFERENCE, Contender
from benchmarks.eager_inputs import FromImage, FromPixels, InTurn
from benchmarks.workload import Given, Output, Workload
from fcnrt.engine.fused import FusedFCN
from fcnrt.measuring import plan_for
from fcnrt.models import FCN

ON_GPU = torch.cuda.is_available()
FULL_WIDTH_SIZES = [(375, 500), (500, 500)] if ON_GPU else [(375, 500)]


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


TURNS = {"one size": ((480, 640), (480, 640)), "two sizes": ((480, 640), (640, 480))}


@pytest.mark.skipif(not ON_GPU, reason="on a CPU a size is planned once, and costs nothing after that")
@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("who", [REFERENCE, Contender("fcnrt", torch.float16)], ids=str)
def test_sizes_in_turn(turns: str, who: Contender, device: torch.device, compete: Callable[..., None]) -> None:
    """Two images after one another: what it costs that the second has another size."""

    def fused(dtype: torch.dtype) -> Runs:
        label = nets.seeded_segmenter(device, dtype).engine.label_images

        def run(*images: Tensor) -> Tensor:
            return [label(each) for each in images][-1]  # type: ignore[no-any-return]

        return Runs(None, run)

    workload = Workload(
        title=f"FCN-8s, full width, two images of {turns}, from pixels",
        given=tuple(Given("image", nets.pixels(seed, *size).to(device)) for seed, size in enumerate(TURNS[turns])),
        eager=lambda: InTurn(FromPixels(nets.seeded_net(device))),
        fused=fused,
    )
    compete(workload, "labels", who)


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
