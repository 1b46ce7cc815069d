"""A uint8 image goes into the first convolution as it is, and comes out as labels."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from fcnrt.engine import Engine, Placement
from fcnrt.engine.fused import FusedFCN
from fcnrt.models import create_model
from fcnrt.preprocessing import Normalization, normalize
from fcnrt_kernels import op

HEIGHT, WIDTH, BATCH = 9, 14, 2


def test_labels_of_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal to those of the net on the normalised image; means and deviations that tell the channels apart."""
    from triton.runtime.interpreter import GridExecutor

    rule = Normalization("custom", "bgr", 0.5, (40.0, 60.0, 80.0), (0.25, 1.0, 2.0))
    net: Any = create_model("fcn32s", 4, width=1 / 32).eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            assert module.bias is not None
            nn.init.constant_(module.bias, 0.1)  # no layer of few channels dies
    images = torch.randint(256, (BATCH, HEIGHT, WIDTH, 3), dtype=torch.uint8)
    x = normalize(images.permute(0, 3, 1, 2), rule)
    # Scores of one size for all classes, so that several win.
    net.get_parameter("score_fr.bias").sub_(net(x).mean(dim=(0, 2, 3)))
    expected = net(x)
    assert len(expected.argmax(dim=1).unique()) > 1
    engine = Engine(copy.deepcopy(net), Placement(x.device, x.dtype, "a test"), "fused", normalization=rule)
    assert isinstance(engine.graph, FusedFCN) and engine.graph.planned is not None
    with monkeypatch.context() as patch:
        # The constants come from the twins: of so small an image they are nearly all there is, and take a minute.
        patch.setattr(op, "runs_triton", lambda x: False)
        engine.graph.planned.prepare(HEIGHT, WIDTH)
    read: list[tuple[str, Any]] = []
    execute = GridExecutor.__call__

    def record(executor: Any, *args: Any, **kwargs: Any) -> Any:
        read.append((executor.fn.__name__, getattr(args[0], "dtype", None)))
        return execute(executor, *args, **kwargs)

    monkeypatch.setattr(GridExecutor, "__call__", record)
    monkeypatch.setattr("fcnrt.engine.normalize", lambda *args: pytest.fail("the images were normalised beforehand"))
    labels, probability = engine.label_images(images, confidence=True)
    assert read[0] == ("conv_first_kernel", torch.uint8)
    best, second = expected.topk(2, dim=1).values.unbind(dim=1)
    wrong = labels.long() != expected.argmax(dim=1)
    assert not (wrong & (best - second > 2e-5 * expected.abs().max())).any(), f"{int(wrong.sum())} labels differ"
    assert (probability.float() - expected.softmax(dim=1).amax(dim=1)).abs().max() < 2e-3
