"""Convolutionalized classifiers say what the classifiers said: the paper's section 3.1 and figure 2, to rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fcnrt
from fcnrt.models import FCN, create_model

NUM_CLASSES = 17
WIDTH = 1 / 16


class VGG16(nn.Module):
    """torchvision's, slim: ``features`` and ``classifier`` by its numbers."""

    def __init__(self, *, batchnorm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width, depth in ((4, 2), (8, 2), (16, 3), (32, 3), (32, 3)):
            for _ in range(depth):
                layers += [nn.Conv2d(channels, width, 3, padding=1)]
                layers += [nn.BatchNorm2d(width), nn.ReLU()] if batchnorm else [nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(32 * 49, 256), nn.ReLU(), nn.Dropout(), nn.Linear(256, 256), nn.ReLU(), nn.Dropout(),
            nn.Linear(256, NUM_CLASSES),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))  # type: ignore[no-any-return]


class AlexNet(nn.Module):
    """torchvision's, slim."""

    def __init__(self) -> None:
        super().__init__()
        pool = nn.MaxPool2d(3, 2)
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 11, stride=4, padding=2), nn.ReLU(), pool, nn.Conv2d(4, 12, 5, padding=2), nn.ReLU(), pool,
            nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.Conv2d(24, 16, 3, padding=1), nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), pool,
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(16 * 36, 256), nn.ReLU(), nn.Dropout(), nn.Linear(256, 256), nn.ReLU(),
            nn.Linear(256, NUM_CLASSES),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))  # type: ignore[no-any-return]


def settle(net: nn.Module) -> nn.Module:
    """Weights of order one, and statistics that are not those of a fresh batch normalization."""
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)  # type: ignore[arg-type]  # it tracks them
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return net.eval().requires_grad_(False)


def coarsest(net: FCN, x: Tensor) -> Tensor:
    score = next(iter(net.heads.values())).scores[0]
    scores: Tensor = net.get_submodule(score.layer)(net.features(x)[score.feature])
    return scores


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


CASES: list[Any] = [
    pytest.param(lambda: VGG16(batchnorm=False), "fcn8s", 1, id="vgg16"),
    pytest.param(lambda: VGG16(batchnorm=True), "fcn32s", 1, id="vgg16_bn"),
    pytest.param(AlexNet, "fcn-alexnet-torchvision", 2, id="alexnet"),
]


@pytest.mark.parametrize(("build", "arch", "pad"), CASES)
def test_scores_are_the_logits_and_slide(build: Any, arch: str, pad: int) -> None:
    classifier = settle(build())
    model = fcnrt.convolutionalize(
        classifier.state_dict(), arch, NUM_CLASSES, keep_scores=True, pad=pad, device="cpu", dtype="float32"
    )
    x = torch.randn(2, 3, 224, 224)
    assert_close(coarsest(model.reference, x)[..., 0, 0], classifier(x))
    assert model(x).shape == (2, NUM_CLASSES, 224, 224)
    # Figure 2: on a larger image, the classifier's head slides over the trunk's feature map.
    larger = torch.randn(1, 3, 224 + 64, 224 + 32)
    trunk = classifier.get_submodule("features")(larger)
    window = 7 if arch.startswith("fcn8s") or arch == "fcn32s" else 6
    patches = F.unfold(trunk, window).transpose(1, 2).flatten(0, 1)
    slid = classifier.get_submodule("classifier")(patches)
    scores = coarsest(model.reference, larger)
    assert_close(scores.flatten(2)[0].T, slid)


@pytest.mark.parametrize(
    ("arch", "norm", "pad"), [("fcn-googlenet", "inception", 3), ("fcn32s-resnet18", "imagenet", None)]
)
def test_the_mean_of_the_scores_is_the_logits(arch: str, norm: str, pad: int | None) -> None:
    trunk = settle(create_model(arch, NUM_CLASSES, width=WIDTH, **({} if pad is None else {"padding": pad})))
    prefix = "backbone." if "resnet" in arch else ""
    state = {key.removeprefix(prefix): value for key, value in trunk.state_dict().items() if "score" not in key}
    score = trunk.get_submodule("score_fr")
    fc = nn.Linear(score.in_channels, NUM_CLASSES)  # type: ignore[arg-type]  # a convolution's
    state |= {"fc.weight": fc.weight.detach(), "fc.bias": fc.bias.detach()}
    model = fcnrt.convolutionalize(state, arch, NUM_CLASSES, keep_scores=True, pad=pad, device="cpu", dtype="float32")
    x = torch.randn(2, 3, 224, 224)
    assert isinstance(trunk, FCN)
    features = next(iter(trunk.features(x).values()))[..., :7, :7]
    assert_close(coarsest(model.reference, x)[..., :7, :7].mean(dim=(2, 3)), fc(features.mean(dim=(2, 3))))
    assert model.spec.normalization.name == norm


def test_a_fresh_decoder_scores_nothing_and_upsamples_bilinearly(tmp_path: Path) -> None:
    path = tmp_path / "vgg16.pth"
    torch.save(settle(VGG16(batchnorm=False)).state_dict(), path)
    model = fcnrt.convolutionalize(path, "fcn8s-atonce", 21, device="cpu", dtype="float32")
    assert model.spec.classes[0] == "background"
    assert model.spec.normalization.name == "imagenet"
    assert not model(torch.randn(1, 3, 33, 47)).any()
    fresh = create_model("fcn8s-atonce", 21, width=WIDTH)
    for name in ("upscore2.weight", "upscore_pool4.weight", "upscore8.weight"):
        assert torch.equal(model.reference.get_parameter(name), fresh.get_parameter(name))


def test_refusals() -> None:
    state = settle(VGG16(batchnorm=False)).state_dict()
    with pytest.raises(fcnrt.CheckpointError, match="it is VGG16, which is not the trunk of fcn-googlenet"):
        fcnrt.convolutionalize(state, "fcn-googlenet", 21)
    with pytest.raises(fcnrt.InputError, match=r"takes 18 rows of 256 from classifier\.6, which has 17 of 256"):
        fcnrt.convolutionalize(state, "fcn8s", 18, keep_scores=True)
    with pytest.raises(fcnrt.InputError, match="num_classes is 0; expected a whole number"):
        fcnrt.convolutionalize(state, "fcn8s", 0)
    with pytest.raises(fcnrt.CheckpointError, match=r"its 1 tensors \(.*\) are no classifier that can become an FCN"):
        fcnrt.convolutionalize({"weight": torch.zeros(3, 3)}, "fcn8s", 21)
    broken = {**state, "features.28.bias": torch.zeros(5)}
    with pytest.raises(fcnrt.CheckpointError, match=r"'?features.28.bias'? has shape \(5,\)"):
        fcnrt.convolutionalize(broken, "fcn8s", 21)
    extra = {**state, "features.30.weight": torch.zeros(5)}
    with pytest.raises(fcnrt.CheckpointError, match="1 of its tensors have no place in fcn8s"):
        fcnrt.convolutionalize(extra, "fcn8s", 21)
