"""yassouali/pytorch-segmentation: the authors' at-once net under names of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.publishers.conftest import Proof
from tests.publishers.vgg import CHANNELS, classifier, crop, deconvolution, features, magnify, score


class FCN8(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers = features(padding=100, ceil_mode=True)
        self.pool3, self.pool4 = nn.Sequential(*layers[:17]), nn.Sequential(*layers[17:24])
        self.pool5 = nn.Sequential(*layers[24:])
        self.adj_pool3, self.adj_pool4 = score(CHANNELS[2]), score(CHANNELS[3])
        self.output = nn.Sequential(*classifier())
        self.up_output, self.up_pool4_out = deconvolution(4, 2), deconvolution(4, 2)
        self.up_final = deconvolution(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        pool3 = self.pool3(x)
        pool4 = self.pool4(pool3)
        y = self.up_output(self.output(self.pool5(pool4)))
        y = self.up_pool4_out(crop(self.adj_pool4(0.01 * pool4), 5, y) + y)
        y = self.up_final(crop(self.adj_pool3(0.0001 * pool3), 9, y) + y)
        return crop(y, 31, x)


@pytest.mark.proves("yassouali", "fcn8s-atonce")
def test_forward_pass(proof: Proof, seeded: Callable[[Any], Any], tmp_path: Path) -> None:
    net = seeded(FCN8())
    magnify([net.adj_pool4, net.adj_pool3], [1e2, 1e4])
    state = {
        "arch": "DataParallel",
        "epoch": 80,
        "state_dict": nn.DataParallel(net).state_dict(),
        "optimizer": {"state": {}, "param_groups": []},
        "monitor_best": np.float64(0.6),
        "config": {"name": "FCN8", "n_gpu": 1, "arch": {"type": "FCN8"}, "train_loader": {"type": "VOC", "args": {}}},
    }
    path = tmp_path / "best_model.pth"
    torch.save(state, path)
    model = proof.compare(path, net, sizes=((1, 1), (33, 47)))
    assert (model.spec.normalization.name, model.spec.sources["normalization"]) == ("yassouali-voc", "file metadata")
