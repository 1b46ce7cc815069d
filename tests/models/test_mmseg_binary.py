"""mmseg's binary heads, one score and a threshold, from files to labels, against mmseg's own ``postprocess_result``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import fcnrt
from fcnrt.checkpoints import read_checkpoint, write_safetensors
from fcnrt.models.mmseg_fcn import MMSegFCN

CONFIG = """
model = dict(
    decode_head=dict(
        type='FCNHead', num_classes=2, out_channels=1,{threshold}
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0)))
"""


@pytest.fixture(scope="module")
def published() -> MMSegFCN:
    """One score a position: this net's own forward gives mmseg's ``seg_logits``."""
    torch.manual_seed(0)
    net = MMSegFCN(1, width=1 / 16, depth=18, aux=True).eval().requires_grad_(False)
    torch.nn.init.normal_(net.get_parameter("decode_head.conv_seg.weight"), std=3.0)
    return net


def mmseg_labels(net: MMSegFCN, x: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """``EncoderDecoder.predict`` in mode whole, and ``postprocess_result`` of ``mmseg/models/segmentors/base.py``."""
    head = net.decode_head
    feature = net.backbone(x, ("layer4",))["layer4"]
    seg_logits = F.conv2d(head.hidden(feature), head.conv_seg.weight, head.conv_seg.bias)
    seg_logits = F.interpolate(seg_logits, x.shape[2:], mode="bilinear", align_corners=False)
    return seg_logits, (seg_logits.sigmoid() > threshold)[:, 0].to(torch.uint8)


def save(net: MMSegFCN, path: Path, config: str = "", **more: Any) -> Path:
    torch.save({"meta": {"config": config, **more}, "state_dict": net.state_dict()}, path)
    return path


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.85])
@pytest.mark.parametrize("engine", ["fused", "eager"])
def test_labels_and_logits(published: MMSegFCN, tmp_path: Path, threshold: float, engine: str) -> None:
    torch.manual_seed(1)
    for size in ((33, 47), (65, 41)):
        x = torch.randn(2, 3, *size)
        scores, _ = mmseg_labels(published, x, threshold)
        # The scores' middle becomes the threshold's log odds, so that both labels are there.
        shift = math.log(threshold / (1 - threshold)) - float(scores.median())
        moved = {key: value.clone() for key, value in published.state_dict().items()}
        moved["decode_head.conv_seg.bias"] += shift
        net = MMSegFCN(1, width=1 / 16, depth=18, aux=True).eval().requires_grad_(False)
        net.load_state_dict(moved)
        model = fcnrt.load(
            save(net, tmp_path / "moved.pth"),
            device="cpu", dtype="float32", engine=engine, options={"threshold": threshold},
        )  # fmt: skip
        assert (model.spec.num_classes, len(model.spec.classes)) == (2, 2)
        assert model.spec.sources["threshold"] == "argument"
        assert "threshold" not in model.spec.options
        scores, labels = mmseg_labels(net, x, threshold)
        assert 0.2 < labels.float().mean() < 0.8
        logits = model(x)
        assert (logits[:, 1:] - scores).abs().max() <= 1e-5 * scores.abs().max()
        assert (logits[:, 0] - math.log(threshold / (1 - threshold))).abs().max() < 1e-6
        far = (scores[:, 0] - math.log(threshold / (1 - threshold))).abs() > 1e-5 * scores.abs().max()
        assert far.float().mean() > 0.99
        assert torch.equal(model.predict_labels(x)[far], labels[far])


@pytest.mark.parametrize(
    ("config", "threshold", "source", "notes"),
    [
        (CONFIG.format(threshold=""), 0.3, "default", 1),
        (CONFIG.format(threshold=" threshold=0.62,"), 0.62, "file metadata", 0),
        (CONFIG.format(threshold=" 'threshold': .5,"), 0.5, "file metadata", 0),
        (CONFIG.format(threshold=" threshold=0.0,"), 0.3, "default", 1),
        (CONFIG.format(threshold=" threshold=None,"), 0.3, "default", 1),
        (CONFIG.format(threshold=f" threshold=0.{'9' * 30},"), 0.3, "default", 1),
    ],
)
def test_threshold_of_the_configuration(
    published: MMSegFCN, tmp_path: Path, config: str, threshold: float, source: str, notes: int
) -> None:
    path = save(published, tmp_path / "fcn_r18-d8_512x512.pth", config, CLASSES=("sky", "road"))
    checkpoint = read_checkpoint(path)
    assert (checkpoint.spec.arch, checkpoint.layout) == ("mmseg-fcn-resnet18", "mmseg")
    assert checkpoint.spec.classes == ("sky", "road")
    assert checkpoint.spec.sources["threshold"] == source
    assert len([note for note in checkpoint.notes if note.startswith("threshold 0.3 is assumed")]) == notes
    for head in ("decode_head", "auxiliary_head"):
        weight, bias = (checkpoint.state_dict[f"{head}.conv_seg.{leaf}"] for leaf in ("weight", "bias"))
        assert torch.equal(weight[0], torch.zeros_like(weight[0]))
        assert torch.equal(weight[1:], published.state_dict()[f"{head}.conv_seg.weight"])
        assert bias[0].sigmoid().item() == pytest.approx(threshold)
        assert bias[1:] == published.state_dict()[f"{head}.conv_seg.bias"]
    write_safetensors(tmp_path / "own.safetensors", checkpoint.spec, checkpoint.state_dict)
    assert read_checkpoint(tmp_path / "own.safetensors").spec == checkpoint.spec


@pytest.mark.parametrize("threshold", [0, 1, 0.0, 1.0, -0.5, 30, True, "0.3", float("nan")])
def test_thresholds_that_are_none(published: MMSegFCN, tmp_path: Path, threshold: Any) -> None:
    path = save(published, tmp_path / "iter.pth")
    with pytest.raises(fcnrt.InputError, match=r"option threshold is .* expected a probability above 0 and below 1"):
        read_checkpoint(path, options={"threshold": threshold})


def test_other_heads_have_no_threshold(published: MMSegFCN, tmp_path: Path) -> None:
    two = MMSegFCN(2, width=1 / 16, depth=18)
    with pytest.raises(fcnrt.InputError, match="mmseg-fcn-resnet18 has no option threshold"):
        read_checkpoint(save(two, tmp_path / "two.pth"), options={"threshold": 0.5})
    state = published.state_dict()
    del state["decode_head.conv_seg.bias"]
    torch.save({"state_dict": state}, tmp_path / "no_bias.pth")
    with pytest.raises(fcnrt.CheckpointError, match=r"decode_head\.conv_seg\.bias' is missing"):
        read_checkpoint(tmp_path / "no_bias.pth")
