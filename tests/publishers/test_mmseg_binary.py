"""open-mmlab/mmsegmentation's FCN with ``out_channels=1``: one score for two classes, and a threshold."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.publishers.conftest import Proof
from tests.publishers.test_mmseg import CONFIG, EncoderDecoder

THRESHOLD = 0.4


@pytest.mark.proves("mmseg", "mmseg-fcn-resnet18", "threshold")
@pytest.mark.proves("mmseg", "mmseg-fcn-resnet34", "threshold")
@pytest.mark.proves("mmseg", "mmseg-fcn-resnet50", "threshold")
@pytest.mark.proves("mmseg", "mmseg-fcn-resnet101", "threshold")
def test_binary_heads(proof: Proof, seeded: Callable[[Any], Any], tmp_path: Path) -> None:
    """Of ``postprocess_result``: class 1 where the sigmoid of the score is above the threshold."""
    net = EncoderDecoder(int(proof.arch.removeprefix("mmseg-fcn-resnet")), "1, 2, 1, 1", True, 1, False)
    for head in (net.decode_head, net.auxiliary_head):
        head.conv_seg = nn.Conv2d(head.conv_seg.in_channels, 1, 1)
    seeded(net)
    said = f", num_classes=2, out_channels=1, threshold={THRESHOLD}"
    text = CONFIG.format(
        kind="ResNetV1c", depth=18, strides="1, 2, 1, 1", dilations="1, 1, 2, 4", head=said, corners=False
    )
    meta = {"config": text, "CLASSES": ("sky", "road")}
    torch.save({"meta": meta, "state_dict": net.state_dict()}, tmp_path / "latest.pth")

    def two_scores(x: Tensor) -> Tensor:
        score = net(x)
        return torch.cat((torch.full_like(score, math.log(THRESHOLD / (1 - THRESHOLD))), score), dim=1)

    net.double().eval()
    model = proof.compare(tmp_path / "latest.pth", two_scores)
    assert model.spec.classes == ("sky", "road")
    x = torch.randn(2, 3, 33, 47)
    certainty = net(x.double()).sigmoid() - THRESHOLD
    clear = (certainty.abs() > 1e-4)[:, 0]
    assert torch.equal(model.predict_labels(x)[clear], (certainty > 0)[:, 0].to(torch.uint8)[clear])
