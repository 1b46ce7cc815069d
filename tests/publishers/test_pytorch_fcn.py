"""wkentaro/pytorch-fcn: layers by Caffe's names, and earlier in ``nn.Sequential``s."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.publishers.caffe import bilinear, decode, decoder_layers, state_dict, trunk, trunk_layers
from tests.publishers.conftest import Proof
from tests.publishers.vgg import CLASSES, classifier, crop, deconvolution, features

CLASS_NAMES = {"fcn32s": "FCN32s", "fcn16s": "FCN16s", "fcn8s": "FCN8s", "fcn8s-atonce": "FCN8sAtOnce"}


@pytest.mark.proves("pytorch-fcn", "fcn32s")
@pytest.mark.proves("pytorch-fcn", "fcn16s")
@pytest.mark.proves("pytorch-fcn", "fcn8s")
@pytest.mark.proves("pytorch-fcn", "fcn8s-atonce")
@pytest.mark.parametrize("trained", [False, True], ids=["from_caffe", "trainer"])
def test_since_august_2017(proof: Proof, trained: bool, tmp_path: Path) -> None:
    """``fcn*_from_caffe.pth`` are of torch before 1.6, and their upsampling is fixed; the trainer's are neither."""
    layers = trunk_layers() | decoder_layers(proof.arch)
    if trained:
        path = tmp_path / "model_best.pth.tar"
        checkpoint = {
            "epoch": 11,
            "iteration": 100000,
            "arch": CLASS_NAMES[proof.arch],
            "optim_state_dict": {"state": {}, "param_groups": []},
            "model_state_dict": OrderedDict(state_dict(layers)),
            "best_mean_iu": np.float64(0.63),
        }
        torch.save(checkpoint, path)
    else:
        path = tmp_path / f"{proof.arch}_from_caffe.pth"
        layers |= {
            name: bilinear(CLASSES, up[0].shape[2] // 2) for name, up in layers.items() if name.startswith("upscore")
        }
        torch.save(OrderedDict(state_dict(layers)), path, _use_new_zipfile_serialization=False)
    model = proof.compare(path, lambda x: decode(proof.arch, layers, trunk(layers, x), x), sizes=((1, 1), (33, 47)))
    assert model.spec.normalization.name == "caffe-voc"


class EarlyFCN32s(nn.Module):
    """FCN32s of 2017, of May with ``upscore``, of March with ``upscore.0``, of February with one or two Sequentials."""

    def __init__(self, key: str) -> None:
        super().__init__()
        trunk, head, up = features(padding=100, ceil_mode=True), classifier(), deconvolution(64, 32)
        if key == "segmenter.38.weight":
            self.parts = ["segmenter"]
            self.segmenter = nn.Sequential(*trunk, *head, up)
        elif key == "segmenter.7.weight":
            self.parts = ["features", "segmenter"]
            self.features, self.segmenter = nn.Sequential(*trunk), nn.Sequential(*head, up)
        else:
            self.parts = ["features", "classifier", "upscore"]
            self.features, self.classifier = nn.Sequential(*trunk), nn.Sequential(*head)
            self.upscore = up if key == "upscore.weight" else nn.Sequential(up)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for part in self.parts:
            y = self.get_submodule(part)(y)
        return crop(y, 19, x)


@pytest.mark.proves(
    "pytorch-fcn (early 2017)",
    "fcn32s",
    "upscore.weight",
    "upscore.0.weight",
    "segmenter.7.weight",
    "segmenter.38.weight",
)
def test_before_august_2017(proof: Proof, seeded: Callable[[Any], Any], tmp_path: Path) -> None:
    net = seeded(EarlyFCN32s(proof.variant))
    assert proof.variant in net.state_dict()
    path = tmp_path / "checkpoint.pth.tar"
    state = {"epoch": 1, "iteration": 4000, "arch": "FCN32s", "model_state_dict": net.state_dict(), "best_mean_iu": 0.1}
    torch.save(state, path, _use_new_zipfile_serialization=False)
    proof.compare(path, net, sizes=((1, 1), (33, 47)))
