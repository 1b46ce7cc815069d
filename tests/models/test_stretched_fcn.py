"""What the nets that stretch scores refuse; ``tests/publishers`` compares them with their programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from fcnrt.errors import InputError
from fcnrt.models.andrewssobral_fcn import AndrewssobralFCN8s
from fcnrt.models.registry import create_model
from fcnrt.models.stretched_fcn import AndrewssobralFCN32s


@pytest.mark.parametrize(
    ("arch", "options", "least"),
    [
        ("andrewssobral-fcn32s", {}, 224),
        ("andrewssobral-fcn16s", {}, 28),
        ("andrewssobral-fcn16s", {"pooled": True}, 224),
        ("andrewssobral-fcn8s", {}, 14),
        ("andrewssobral-fcn8s", {"pooled": True}, 224),
        ("ai502-fcn-vgg16", {}, 32),
        ("ai502-fcn-alexnet", {}, 63),
        ("ai502-fcn-googlenet", {}, 15),
    ],
)
def test_the_smallest_image(arch: str, options: dict[str, Any], least: int) -> None:
    net: Any = create_model(arch, 5, width=1 / 64, **options).eval()
    with torch.inference_mode():
        assert net(torch.zeros(1, 3, least, least + 9)).shape == (1, 5, least, least + 9)
        if "fc7" in (features := net.features(torch.zeros(1, 3, least, least))):
            assert features["fc7"].shape[2:] == (1, 1)
    with pytest.raises(InputError, match=f"{least - 1}x400 pixels is too small: .* at least {least}x{least}"):
        net(torch.zeros(1, 3, least - 1, 400))


@pytest.mark.parametrize("build", [AndrewssobralFCN32s, AndrewssobralFCN8s])
def test_rules_that_are_none(build: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="unknown rule 'corners'; expected 'half_pixel', 'align_corners'"):
        build(rule="corners")
