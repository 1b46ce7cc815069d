"""The plan of a GPU on the kernels' torch twins: every net against its eager form, in memory full of NaN."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fcnrt.engine.cpu import plan_on_cpu
from fcnrt.engine.gpu import plan_on_gpu, take_pixels
from fcnrt.engine.gpu import steps as gpu_steps
from fcnrt.engine.keeping import keeping
from fcnrt.engine.planned import PlannedTrunk
from fcnrt.engine.planned.arena import Block
from fcnrt.models import FCN
from fcnrt.models.batchnorm import fold_batchnorm
from fcnrt.plan.graph import Convolution
from fcnrt.preprocessing import PRESETS, Normalization, normalize
from fcnrt_kernels import tables

VARIANTS = ["fcn32s", "fcn16s", "fcn8s", "fcn8s-atonce"]
NETS = [*VARIANTS, "fcn-alexnet", "fcn-resnet18", "fcn8s-resnet18", "fcn-googlenet", "nyud-fcn32s-color-d"]


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call finds its memory full of NaN: what it reads it must have written."""
    take = Block.take
    monkeypatch.setattr(Block, "take", lambda block, elements: take(block, elements).fill_(float("nan")))


def prepared_net(make_net: Any, arch: str, dtype: torch.dtype, width: float = 1 / 16) -> FCN:
    net: FCN = make_net(arch, width=width)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    fold_batchnorm(net)
    return net.to(dtype)


def error(planned: PlannedTrunk, net: FCN, x: Tensor) -> float:
    """The largest difference in what the decoders read, relative to the largest activation."""
    expected = net.features(x)
    worst = 0.0
    with planned.run(x) as features:
        for name, found in features.maps.items():
            whole = expected[name]
            rows, columns = max(0, found.rows), max(0, found.columns)
            kept = found.tensor[:, :, rows - found.rows :, columns - found.columns :]
            kept = kept[:, :, : whole.shape[2] - rows, : whole.shape[3] - columns]
            part = whole[:, :, rows : rows + kept.shape[2], columns : columns + kept.shape[3]]
            worst = max(worst, float((kept - part).abs().max() / whole.abs().max()))
    return worst


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("arch", NETS)
def test_nets(arch: str, dtype: torch.dtype, make_net: Any) -> None:
    """In float32 through the kernels' ops, in float64 through torch."""
    net = prepared_net(make_net, arch, dtype)
    for halo in (True, False):
        planned = plan_on_gpu(net, dtype, halo=halo)
        for size in ((33, 47), (70, 41)):
            x = torch.randn(2, net.in_channels, *size, dtype=dtype) * 50
            assert error(planned, net, x) < (1e-5 if dtype == torch.float32 else 1e-12)


def kernels(planned: PlannedTrunk, height: int, width: int) -> dict[str, str]:
    """The choice for each convolution."""
    schedule = planned.prepare(height, width).schedule
    return {
        op.name: planned.explain(op, group, schedule.values)[0]
        for group in schedule.groups
        for op in group
        if isinstance(op, Convolution)
    }


def test_who_computes(make_net: Any) -> None:
    found = kernels(plan_on_gpu(prepared_net(make_net, "fcn8s", torch.float32), torch.float32), 33, 47)
    assert found.pop("conv1_1") == "Triton conv_first"
    assert set(found.values()) == {"Triton conv"}
    found = kernels(plan_on_gpu(prepared_net(make_net, "fcn-resnet18", torch.float32), torch.float32), 33, 47)
    assert set(found.values()) == {"Triton conv_first", "Triton conv", "cuDNN"}
    found = kernels(plan_on_gpu(prepared_net(make_net, "fcn8s", torch.float64), torch.float64), 33, 47)
    assert set(found.values()) == {"cuDNN"}


def test_a_layer_takes_what_measured_faster(make_net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    net = prepared_net(make_net, "fcn8s", torch.float32)
    planned = plan_on_gpu(net, torch.float32)
    choose = tables.choose

    def measured(problem: Any, target: Any) -> tables.Choice:
        return tables.Choice(choose(problem, target).config, "measured: 2.0 us, cuDNN 1.0 us", problem.pool)

    monkeypatch.setattr(tables, "choose", measured)
    found = kernels(planned, 33, 47)
    assert {name for name, kernel in found.items() if kernel == "cuDNN"} == {
        "conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"
    }  # fmt: skip
    assert error(planned, net, torch.randn(2, 3, 33, 47) * 50) < 1e-5


def test_the_image_is_not_copied(make_net: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan_on_gpu(prepared_net(make_net, "fcn8s", torch.float32), torch.float32)
    graph = planned.prepare(9, 14).schedule.graph
    monkeypatch.setattr(gpu_steps, "run_plain", lambda op, *args: pytest.fail(f"{op.name} was computed by torch"))
    with planned.run(torch.randn(1, 3, 9, 14)):
        pass
    assert planned.steps.reads_images(graph)


def test_a_recording_keeps_what_it_reads(make_net: Any) -> None:
    """Rings of a size that nobody asks for any more must stay where a recorded call reads them."""
    planned = plan_on_gpu(prepared_net(make_net, "fcn8s", torch.float32, width=1 / 64), torch.float32)
    x = torch.randn(1, 3, 9, 14)
    with keeping() as kept:
        for _ in range(2):
            with planned.run(x):
                pass
    with planned.run(torch.randn(1, 3, 8, 14)):
        pass
    assert kept == [planned.prepare(9, 14)]
    for size in range(1, 12):
        planned.prepare(size, size)
    assert planned.prepare(9, 14) is not kept[0]


def test_calls_keep_no_memory(make_net: Any) -> None:
    """It is torch's: inside a recording, that of the graph."""
    planned = plan_on_gpu(prepared_net(make_net, "fcn8s", torch.float32, width=1 / 64), torch.float32)
    with planned.run(torch.randn(1, 3, 9, 14)):
        pass
    assert planned._arenas.elements == 0
    assert planned._arenas._free == []


def test_an_empty_step_launches_nothing(make_net: Any) -> None:
    planned = plan_on_gpu(prepared_net(make_net, "fcn32s", torch.float32, width=1 / 64), torch.float32)
    for size in ((1, 1), (1, 40), (31, 2)):
        with planned.run(torch.randn(1, 3, *size)) as features:
            assert all(not feature.tensor.isnan().any() for feature in features.maps.values())


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_pixels_are_normalised_as_they_are_read(order: Any, make_net: Any) -> None:
    """Up to the rounding of one multiplication and addition where ``normalize`` takes three steps."""
    rule = Normalization("custom", order, 0.5, (40.0, 60.0, 80.0), (0.25, 1.0, 2.0))
    for arch in ("fcn8s", "fcn-alexnet", "fcn-resnet18"):
        net = prepared_net(make_net, arch, torch.float32)
        planned = plan_on_gpu(net, torch.float32)
        assert take_pixels(planned, rule)
        images = torch.randint(256, (2, 33, 47, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
        x = normalize(images, rule)
        with planned.run(images) as features:
            found = {name: feature.tensor.clone() for name, feature in features.maps.items()}
        with planned.run(x) as features:  # those that come normalised are taken as before
            for name, feature in features.maps.items():
                assert (found[name] - feature.tensor).abs().max() <= 1e-5 * feature.tensor.abs().max()
        assert error(planned, net, x) < 1e-5


def test_who_takes_no_pixels(make_net: Any) -> None:
    """Where torch convolves them, where a trunk of each kind reads its channels, and on a CPU."""
    colour, beside = PRESETS["caffe-voc"], PRESETS["nyud-color-hha"]
    exact = prepared_net(make_net, "fcn32s", torch.float64, width=1 / 64)
    assert not take_pixels(plan_on_gpu(exact, torch.float64), colour)
    late = prepared_net(make_net, "nyud-fcn32s-color-hha", torch.float32, width=1 / 64)
    assert not take_pixels(plan_on_gpu(late, torch.float32), beside)
    assert not take_pixels(plan_on_cpu(exact.float(), torch.float32), colour)
