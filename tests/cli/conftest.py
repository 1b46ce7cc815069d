"""A slim checkpoint and a few images, the way a user's folder has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fcnrt.models import create_model

CLASSES = 5


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    net = create_model("fcn8s", CLASSES, width=1 / 16)
    for name in ("score_fr", "score_pool4", "score_pool3"):
        torch.nn.init.normal_(net.get_parameter(f"{name}.weight"))
    path = tmp_path_factory.mktemp("checkpoint") / "fcn8s.pt"
    torch.save(net.state_dict(), path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    noise = np.random.default_rng(0)
    for name, size in (("a.png", (17, 23)), ("sub/b.jpg", (31, 8))):
        Image.fromarray(noise.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / name)
    return folder
