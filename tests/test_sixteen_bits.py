"""A model loaded in 16 bits: calibrated with or without the caller's images, refused where float16 does not hold it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fcnrt
from fcnrt import loading
from fcnrt.demo import demo_checkpoint, sample_images
from fcnrt.engine import Placement
from fcnrt.models import create_model


def save(path: Path, arch: str, layer: str, factor: float) -> Path:
    net = create_model(arch, 4, width=1 / 32)
    with torch.no_grad():
        net.get_parameter("score_fr.weight").normal_()
        net.get_parameter(f"{layer}.weight").mul_(factor)
    torch.save(net.state_dict(), path)
    return path


@pytest.fixture
def undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU with the matrix hardware of a GPU."""
    placement = Placement(torch.device("cpu"), torch.bfloat16, "a test", (torch.bfloat16, torch.float16))
    monkeypatch.setattr(loading, "choose_placement", lambda device, dtype: placement)


@pytest.mark.parametrize("engine", ["fused", "eager"])
def test_auto_measures(engine: str, undecided: None) -> None:
    image = np.random.default_rng(0).integers(0, 255, (50, 60, 3), dtype=np.uint8)
    for calibration, count in ((None, 2), (iter([image]), 1)):
        model = fcnrt.load(demo_checkpoint(), engine=engine, calibration=calibration)
        assert model.dtype == torch.float16 == model.engine.graph.dtype
        assert f"labels on {count} calibration images" in model.engine.placement.reason


def test_labels_of_the_trained_net_in_float16() -> None:
    narrow = fcnrt.load(demo_checkpoint(), device="cpu", dtype="float16")
    exact = fcnrt.load(demo_checkpoint(), device="cpu", dtype="float32")
    path = sample_images()[0]
    assert (narrow.segment(path).labels == exact.segment(path).labels).mean() >= 0.9995


@pytest.mark.parametrize("engine", ["fused", "eager"])
def test_large_activations(engine: str, tmp_path: Path) -> None:
    """The fused engine scales them, the eager one cannot."""
    path = save(tmp_path / "fcn8s.pth", "fcn8s", "conv1_1", 1e6)

    def load() -> fcnrt.Segmenter:
        return fcnrt.load(path, device="cpu", dtype="float16", engine=engine)

    if engine == "eager":
        with pytest.raises(fcnrt.InputError, match=r"conv\d_\d reaches .* folds no scales in; use dtype='bfloat16'"):
            load()
        return
    model, x = load(), torch.randn(1, 3, 40, 50) * 50
    expected = model.reference(x)
    assert (model(x) - expected).abs().max() <= 5e-3 * expected.abs().max()


@pytest.mark.parametrize("engine", ["fused", "eager"])
def test_a_net_that_float16_does_not_hold(engine: str, tmp_path: Path, undecided: Any) -> None:
    path = save(tmp_path / "fcn-alexnet.pth", "fcn-alexnet", "conv1", 1e7)
    model = fcnrt.load(path, engine=engine)
    assert model.dtype == torch.bfloat16 and "not float16: " in model.engine.placement.reason
