"""A recording has its buffers for itself where memory allows: their rings are written before, and never again."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fcnrt.engine.gpu import plan_on_gpu
from fcnrt.engine.keeping import keeping, once
from fcnrt.engine.planned import arena, trunk
from fcnrt.engine.planned.arena import may_own
from fcnrt.models.batchnorm import fold_batchnorm


def features(planned: trunk.PlannedTrunk, x: torch.Tensor) -> dict[str, torch.Tensor]:
    with planned.run(x) as found:
        return {name: feature.tensor.clone() for name, feature in found.maps.items()}


@pytest.mark.parametrize("arch", ["fcn8s", "fcn-alexnet", "fcn8s-resnet18"])
def test_rings_outlive_the_runs_of_a_recording(arch: str, make_net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    net = make_net(arch)
    fold_batchnorm(net)
    planned = plan_on_gpu(net, torch.float32)
    images = [torch.randn(2, 3, 37, 45) * 50 for _ in range(3)]
    expected = [features(planned, x) for x in images]
    written: list[str] = []
    write = trunk._write_ring

    def noted(prepared: trunk.Prepared, name: str, buffer: torch.Tensor) -> None:
        written.append(name)
        write(prepared, name, buffer)

    monkeypatch.setattr(trunk, "_write_ring", noted)
    with keeping():
        for x, alone in zip(images, expected, strict=True):
            found = features(planned, x)
            assert all(torch.equal(found[name], tensor) for name, tensor in alone.items())
    assert written
    assert len(written) == len(set(written)), "a ring was written twice"
    with keeping():  # another recording has buffers of its own
        features(planned, images[0])
    assert sorted(written) == sorted(written[: len(written) // 2] * 2)


def test_large_buffers_share_memory(make_net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trunk, "may_own", lambda *args: False)
    net = make_net("fcn8s")
    planned = plan_on_gpu(net, torch.float32)
    with keeping() as kept:
        features(planned, torch.randn(1, 3, 37, 45))
    assert not kept.made


def test_what_a_device_can_spare() -> None:
    limit = (1 << 34) // arena.SHARE_OF_DEVICE // 2
    assert may_own(limit, 2, torch.device("cpu"))
    assert not may_own(limit + 1, 2, torch.device("cpu"))


def test_once() -> None:
    made: list[int] = []

    def make() -> list[int]:
        made.append(len(made))
        return made

    assert once("key", make) is None
    with keeping():
        assert once("key", make) is once("key", make) is made
        assert once("other", make) is made
    assert made == [0, 1]
