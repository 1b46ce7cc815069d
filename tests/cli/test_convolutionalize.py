"""``fcnrt convolutionalize``: a classifier's file to an FCN's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import fcnrt
from fcnrt.cli import main


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    """An AlexNet of torchvision's keys at a sixteenth of its width."""
    layers: dict[str, nn.Module] = {
        "features.0": nn.Conv2d(3, 4, 11), "features.3": nn.Conv2d(4, 12, 5), "features.6": nn.Conv2d(12, 24, 3),
        "features.8": nn.Conv2d(24, 16, 3), "features.10": nn.Conv2d(16, 16, 3),
        "classifier.1": nn.Linear(16 * 36, 256), "classifier.4": nn.Linear(256, 256),
        "classifier.6": nn.Linear(256, 10),
    }  # fmt: skip
    state = {f"{name}.{leaf}": t for name, layer in layers.items() for leaf, t in layer.state_dict().items()}
    path = tmp_path / "alexnet.pth"
    torch.save(state, path)
    return path


def test_the_file_holds_the_net(classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "fcn.safetensors"
    arguments = ["convolutionalize", str(classifier), "--arch", "fcn-alexnet-torchvision", "-o", str(out)]
    assert main([*arguments, "--classes", "background,cat,dog"]) == 0
    assert f"-> {out}: fcn-alexnet-torchvision, 3 classes" in capsys.readouterr().out
    model = fcnrt.load(out, device="cpu")
    assert model.spec.classes == ("background", "cat", "dog")
    assert model.predict_labels(torch.randn(1, 3, 40, 30)).shape == (1, 40, 30)
    assert main([*arguments, "--classes", "3"]) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*arguments, "--classes", "10", "--keep-scores", "--pad", "2", "--force"]) == 0
    kept = fcnrt.load(out, device="cpu").reference.get_parameter("score_fr.weight")
    assert torch.equal(kept.flatten(1), torch.load(classifier, weights_only=True)["classifier.6.weight"])


def test_what_is_no_classifier_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.pt"
    torch.save({"weight": torch.zeros(2, 2)}, path)
    out = tmp_path / "fcn.safetensors"
    assert main(["convolutionalize", str(path), "--arch", "fcn8s", "--classes", "21", "-o", str(out)]) == 4
    assert "are no classifier that can become an FCN" in capsys.readouterr().err
    assert not out.exists()
