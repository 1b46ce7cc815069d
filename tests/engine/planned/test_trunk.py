"""The planned trunk against the net: with the halo and without, in memory full of NaN, at every size modulo 32."""

from __future__ import annotations

import copy
import itertools
import random
from typing import Any

import pytest
import torch
from torch import Tensor

from fcnrt.engine.cpu import plan_on_cpu
from fcnrt.engine.fused import FusedFCN
from fcnrt.engine.planned import PlannedTrunk, trunk
from fcnrt.engine.planned.arena import Arena, ArenaPool
from fcnrt.models import FCN
from fcnrt.models.batchnorm import fold_batchnorm
from fcnrt.plan import selection
from fcnrt.plan.lowering import NotLowerableError

PADDED = [
    "fcn32s",
    "fcn16s",
    "fcn8s",
    "fcn8s-atonce",
    "fcn-alexnet",
    "fcn-alexnet-torchvision",
    "fcn-googlenet",
    "siftflow-fcn8s",
    "nyud-fcn32s-color-d",
    "nyud-fcn32s-color-hha",
    "ptsemseg-fcn8s",
    "zijundeng-fcn16s",
]
UNPADDED = ["fcn-resnet18", "fcn-resnet50", "fcn8s-resnet18", "mmseg-fcn-resnet18", "tramac-fcn8s"]


@pytest.fixture(params=["chosen", "winograd"])
def algorithms(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine would choose, and Winograd wherever it can be: slim nets would never see it."""
    if request.param == "winograd":
        capability = torch.backends.cpu.get_cpu_capability()
        monkeypatch.setattr(selection, "WINOGRAD_FROM", {capability: 1})
        monkeypatch.setattr(selection, "MATRIX_FROM", 1 << 12)


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call finds its memory full of NaN: what it reads it must have written."""
    borrow = ArenaPool.borrow

    def borrow_poisoned(pool: Any) -> Any:
        with borrow(pool) as arena:
            for block in (arena.buffers, *arena.scratch):
                block._memory.fill_(float("nan"))
            return borrow(pool)

    monkeypatch.setattr(ArenaPool, "borrow", borrow_poisoned)


def prepared_net(make_net: Any, arch: str, width: float = 1 / 32, **options: Any) -> FCN:
    net: FCN = make_net(arch, width=width, **options)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    fold_batchnorm(net)
    return net.double()


def error(planned: PlannedTrunk, net: FCN, x: Tensor) -> float:
    """The largest difference in what the decoders read, relative to the largest activation."""
    expected = net.features(x)
    worst = 0.0
    with planned.run(x) as features:
        for name, found in features.maps.items():
            whole = expected[name]
            rows, columns = (
                slice(max(0, first), first + size)
                for first, size in zip((found.rows, found.columns), found.tensor.shape[2:], strict=True)
            )
            part = whole[:, :, rows, columns]
            kept = found.tensor[:, :, max(0, -found.rows) :, max(0, -found.columns) :]
            difference = (kept[:, :, : part.shape[2], : part.shape[3]] - part).abs().max() / whole.abs().max()
            worst = max(worst, float(difference))
    return worst


@pytest.mark.parametrize("arch", [*PADDED, *UNPADDED])
@pytest.mark.parametrize("halo", [True, False])
def test_nets_in_float64(arch: str, halo: bool, algorithms: None, make_net: Any) -> None:
    net = prepared_net(make_net, arch)
    planned = plan_on_cpu(net, torch.float64, halo=halo)
    sizes = [(33, 47), (70, 41)] if arch in UNPADDED else [(1, 1), (27, 70), (64, 33)]
    for batch, size in zip((3, 1, 1), sizes, strict=False):
        assert error(planned, net, torch.randn(batch, net.in_channels, *size).double() * 50) < 1e-12


def test_every_size_modulo_the_stride(make_net: Any) -> None:
    """Every residue on each axis, in pairs drawn at random, from sizes of 1 to 700."""
    net = prepared_net(make_net, "fcn8s", width=1 / 64)
    planned = plan_on_cpu(net, torch.float64)
    draw = random.Random(0)
    columns = draw.sample(range(32), 32)
    for row, column in zip(range(32), columns, strict=True):
        size = row + 32 * draw.randrange(6), column + 32 * draw.randrange(6)
        if row % 8 == 0:
            size = size[0], column + 32 * draw.randrange(15, 21)
        height, width = max(1, size[0]), max(1, size[1])
        assert error(planned, net, torch.randn(1, 3, height, width).double() * 50) < 1e-12, (height, width)


def test_the_first_size_does_not_matter(make_net: Any) -> None:
    """Constants that one size left behind serve the next as they would have served it alone."""
    net = prepared_net(make_net, "fcn16s")
    sizes = [(40, 90), (72, 122), (8, 26), (40, 90)]
    shared = plan_on_cpu(net, torch.float64)
    for size in sizes:
        x = torch.randn(1, 3, *size).double()
        with shared.run(x) as features:
            found = {name: feature.tensor.clone() for name, feature in features.maps.items()}
        with plan_on_cpu(net, torch.float64).run(x) as features:
            assert all(torch.equal(found[name], feature.tensor) for name, feature in features.maps.items())


def test_the_pad_is_zero_after_normalisation(make_net: Any) -> None:
    """A net on an image that is all mean colour gives its constants everywhere; the halo must not know the mean."""
    net = prepared_net(make_net, "fcn8s")
    assert error(plan_on_cpu(net, torch.float64), net, torch.zeros(1, 3, 50, 61).double()) < 1e-12


@pytest.mark.parametrize("kind", ["bilinear", "depthwise", "dense"])
def test_logits_and_labels_in_float32(kind: str, algorithms: None, make_net: Any) -> None:
    for arch in ("fcn8s", "fcn-alexnet", "siftflow-fcn8s"):
        net = make_net(arch, kind=kind)
        with_halo, without = (FusedFCN(copy.deepcopy(net), torch.float32, halo=halo) for halo in (True, False))
        for batch, size in ((1, (29, 133)), (3, (64, 51))):
            x = torch.randn(batch, 3, *size) * 50
            for one, other, labels in zip(
                *(heads(run(x)) for run in (with_halo, without, with_halo.predict_labels)), strict=True
            ):
                largest = other.abs().max()
                assert (one - other).abs().max() <= 1e-5 * largest
                best, second = other.topk(2, dim=1).values.unbind(dim=1)
                wrong = labels != other.argmax(dim=1)
                assert not (wrong & (best - second > 2e-5 * largest)).any()


def heads(outputs: Any) -> list[Tensor]:
    return list(outputs.values()) if isinstance(outputs, dict) else [outputs]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_sixteen_bits(dtype: torch.dtype, make_net: Any) -> None:
    net = make_net("fcn8s").float()
    x = torch.randn(1, 3, 45, 58)
    expected = FusedFCN(copy.deepcopy(net), torch.float32)(x)
    found = FusedFCN(copy.deepcopy(net), dtype)(x)
    dense = FusedFCN(copy.deepcopy(net), dtype, halo=False)(x)
    bound = 5e-2 if dtype == torch.bfloat16 else 1e-2  # untrained nets amplify rounding
    assert (found - expected).abs().max() <= bound * expected.abs().max()
    assert (found - dense).abs().max() <= bound * expected.abs().max()


def test_memory_does_not_grow_with_sizes(make_net: Any) -> None:
    net = make_net("fcn8s", width=1 / 64)
    planned = plan_on_cpu(net, torch.float32)
    draw = random.Random(0)
    largest = 0
    for index in range(60):
        with planned.run(torch.zeros(1, 3, draw.randrange(1, 90), draw.randrange(1, 90))):
            pass
        largest = max(largest, planned._arenas.elements) if index < 20 else largest
    assert planned._arenas.elements <= 4 * largest
    assert len(planned._prepared) <= trunk.KEPT_SIZES
    assert len(planned._arenas._free) == 1
    with planned.run(torch.zeros(1, 3, 600, 600)):
        pass
    grown = planned._arenas.elements
    with planned.run(torch.zeros(1, 3, 20, 20)):
        pass
    assert planned._arenas.elements < grown / 4


def test_called_in_inference_mode_first(make_net: Any) -> None:
    """What a call keeps is not an inference tensor, which later calls could not write."""
    net = make_net("fcn8s", width=1 / 64)
    with torch.inference_mode():
        fused = FusedFCN(net, torch.float32)
        first = fused(torch.ones(1, 3, 20, 30)).clone()
    x = torch.ones(1, 3, 20, 30, requires_grad=True)
    assert torch.equal(fused(x), first)


def test_a_net_that_cannot_be_planned_runs_module_by_module(make_net: Any) -> None:
    net = make_net("pochih-fcn8s")
    with pytest.raises(NotLowerableError, match="the trunk calls conv_transpose2d"):
        plan_on_cpu(net, torch.float32)
    fused = FusedFCN(copy.deepcopy(net), torch.float32)
    x = torch.randn(1, 3, 33, 40)
    assert torch.allclose(fused(x), net(x), atol=1e-4)


def test_blocks() -> None:
    block = Arena(torch.float32).buffers
    assert block.take(100).numel() == 100
    held = block.elements
    assert block.take(50).numel() == 50 and block.elements == held
    assert block.take(1 << 20).numel() == 1 << 20
    block.take(10)
    assert block.elements < 1 << 17
    assert list(itertools.islice(iter(block.take(3).shape), 1)) == [3]
