"""The nets that are timed compute what the reference computes, whatever is left out of them."""

from __future__ import annotations

import pytest
import torch

from benchmarks import nets
from benchmarks.contenders import Part
from benchmarks.eager_inputs import FromImage, FromPixels, InTurn
from benchmarks.test_ablation import STEPS_ON_GPU
from benchmarks.test_decoder import FromMaps
from fcnrt.engine.fused import FusedFCN
from fcnrt.measuring import relative_error

CPU = torch.device("cpu")
SLIM = 1 / 16
SIZE = (41, 53)


@pytest.fixture
def scores() -> torch.Tensor:
    with torch.inference_mode():
        return nets.seeded_net(CPU, SLIM)(nets.image(1, *SIZE))  # type: ignore[no-any-return]


def test_a_decoder_behind_given_maps(scores: torch.Tensor) -> None:
    with torch.inference_mode():
        maps = nets.seeded_net(CPU, SLIM).features(nets.image(1, *SIZE))
    given = [maps[name] for name in ("pool3", "pool4", "fc7")]
    fused = FusedFCN(nets.seeded_decoder(CPU, SLIM), torch.float32)
    module = FromMaps(fused, SIZE)
    with torch.inference_mode():
        assert relative_error(FromMaps(nets.seeded_decoder(CPU, SLIM), SIZE)(*given), scores) <= 1e-6
        assert relative_error(module(*given), scores) <= 1e-5
        labels = fused.predict_labels(module.given(*given))  # type: ignore[arg-type]
    assert (labels.long() == scores.argmax(dim=1)).float().mean() >= 0.999


@pytest.mark.parametrize("parts", sorted({step.without for step in STEPS_ON_GPU}), ids=str)
def test_the_ablation_of_a_gpu(parts: tuple[Part, ...], scores: torch.Tensor) -> None:
    runs = nets.seeded_gpu_runs_without(parts, CPU, torch.float32, SLIM)
    assert runs.scores is not None
    assert runs.labels is not None
    with torch.inference_mode():
        assert relative_error(runs.scores(nets.image(1, *SIZE)), scores) <= 1e-5
        labels = runs.labels(nets.image(1, *SIZE))
    assert (labels.long() == scores.argmax(dim=1)).float().mean() >= 0.999


def test_pixels_and_images_in_turn(scores: torch.Tensor) -> None:
    net, pixels = nets.seeded_net(CPU, SLIM), nets.pixels(1, *SIZE)
    with torch.inference_mode():
        assert relative_error(FromPixels(net)(pixels), scores) <= 1e-5
        in_turn = InTurn(FromImage(net))(nets.image(0, *SIZE), nets.image(1, *SIZE))
    assert torch.equal(in_turn, scores)
    model = nets.seeded_segmenter(CPU, torch.float32, SLIM)
    run = nets.pixel_runs(model).labels
    assert run is not None
    assert (run(pixels).long() == scores.argmax(dim=1)).float().mean() >= 0.999
