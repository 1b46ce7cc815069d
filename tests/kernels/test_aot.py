"""Every kernel as the ops launch it, compiled for GPUs that are not here: no spills, shared memory within the limit.

The launches are the ops' own: they are made on CPU tensors, and written down where Triton would have run them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import fcnrt_kernels.op
from fcnrt_kernels import score_upsample_add, upsample_argmax, upsample_crop

aot = pytest.importorskip("fcnrt_kernels.aot", reason="needs Triton, which has no wheel for this platform")
from triton.runtime.jit import JITFunction  # noqa: E402  # after the line above

BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32
TENSOR_CORES = {80: "mma.sync", 86: "mma.sync", 90: "wgmma.mma_async", 100: "tcgen05.mma", 120: "mma.sync"}


@dataclass(frozen=True)
class Launch:
    kernel: Any
    arguments: dict[str, str]
    constants: dict[str, object]
    options: dict[str, int]

    def compile(self, capability: int) -> Any:
        return aot.compile_kernel(self.kernel, capability, self.arguments, self.constants, **self.options)


Record = Callable[..., Launch]


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Record:
    """Calls an op on CPU tensors as if they were on a GPU, and returns what it would have launched."""

    def record(op: Callable[..., Any], *args: Any, **kwargs: Any) -> Launch:
        launches: list[Launch] = []

        def run(kernel: Any, *values: Any, grid: Any, warmup: bool, **keywords: Any) -> None:
            options = {name: value for name, value in keywords.items() if name not in kernel.arg_names}
            constants = {name: value for name, value in keywords.items() if name in kernel.arg_names}
            names = [name for name in kernel.arg_names if name not in constants]
            types = map(aot.argument_type, values)
            launches.append(Launch(kernel, dict(zip(names, types, strict=True)), constants, options))

        with monkeypatch.context() as patch:
            patch.setattr(JITFunction, "run", run)
            patch.setattr(fcnrt_kernels.op, "runs_triton", lambda x: True)
            op(*args, **kwargs)
        assert len(launches) == 1
        return launches[0]

    return record


def taps(kind: str, classes: int, kernel: int) -> Tensor | None:
    shape = {"depthwise": (classes,), "dense": (classes, classes)}.get(kind)
    return torch.empty(*shape, kernel, kernel) if shape else None


def score(
    record: Record, dtype: torch.dtype, kind: str, classes: int = 21, channels: int = 512, layout: Any = None
) -> Launch:
    """``score_pool4`` of a 500x500 image, as the engine launches it: channels innermost."""
    skip = torch.empty(1, channels, 44, 44, dtype=dtype)
    skip = skip.contiguous(memory_format=torch.channels_last) if layout is None else layout(skip)
    window: dict[str, Any] = {"size": (34, 34), "skip_offset": (5, 5)}
    if kind in ("bilinear", "depthwise", "dense"):
        window |= {"kernel": 4, "stride": 2, "offset": (0, 0), "taps": taps(kind, classes, 4)}
    else:
        window |= {"rule": kind}
    weight, bias = torch.empty(classes, channels, dtype=dtype), torch.empty(classes)
    return record(score_upsample_add, torch.empty(1, classes, 16, 16), skip, weight, bias, **window)


def finish(record: Record, op: Any, dtype: torch.dtype, kind: str, classes: int = 21, **options: Any) -> Launch:
    """``upscore8`` of a 500x500 image."""
    window: dict[str, Any] = {"size": (500, 500)}
    if kind in ("bilinear", "depthwise", "dense"):
        window |= {"kernel": 16, "stride": 8, "offset": (7, 7), "taps": taps(kind, classes, 16)}
    else:
        window |= {"rule": kind}
    return record(op, torch.empty(1, classes, 64, 64, dtype=dtype), **window, **options)


def assert_fits(compiled: Any) -> None:
    assert compiled.spill_bytes == 0
    assert compiled.fits
    assert compiled.registers <= 255


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("kind", ["bilinear", "dense"])
@pytest.mark.parametrize("dtype", [F32, BF16], ids=str)
def test_score_upsample_add(dtype: torch.dtype, kind: str, capability: int, record: Record) -> None:
    compiled = score(record, dtype, kind).compile(capability)
    assert_fits(compiled)
    # float32 products are exact, so they have no tensor cores to go to.
    expected = {TENSOR_CORES[capability]} if dtype == BF16 else set()
    assert compiled.matrix_instructions == expected


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize(("dtype", "kind"), [(F32, "bilinear"), (BF16, "depthwise"), (F32, "dense")], ids=str)
def test_upsample_argmax(dtype: torch.dtype, kind: str, capability: int, record: Record) -> None:
    assert_fits(finish(record, upsample_argmax, dtype, kind, confidence=True).compile(capability))


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("kind", ["bilinear", "dense"])
def test_upsample_crop(kind: str, capability: int, record: Record) -> None:
    assert_fits(finish(record, upsample_crop, F32, kind).compile(capability))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["depthwise", "half_pixel", "align_corners", "nearest"])
def test_other_kinds_on_hopper(kind: str, record: Record) -> None:
    for launch in (
        score(record, F16, kind),
        finish(record, upsample_argmax, F16, kind),
        finish(record, upsample_crop, F16, kind, out=torch.empty(1, 21, 500, 500, dtype=F16)),
    ):
        assert_fits(launch.compile(90))


@pytest.mark.slow
@pytest.mark.parametrize("classes", [1, 60, 151])
@pytest.mark.parametrize("kind", ["bilinear", "dense"])
def test_other_tiles_on_hopper(kind: str, classes: int, record: Record) -> None:
    assert_fits(score(record, BF16, kind, classes, channels=24).compile(90))
    if kind == "dense":
        assert_fits(finish(record, upsample_argmax, BF16, kind, classes).compile(90))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [F32, BF16], ids=str)
def test_skips_of_any_strides(dtype: torch.dtype, record: Record) -> None:
    """Channels outermost, and a view whose strides and address are multiples of nothing."""

    def odd(skip: Tensor) -> Tensor:
        return torch.empty(1, skip.shape[1] + 2, 51, 107, dtype=skip.dtype)[:, 1:-1, 1:45, 3:91:2]

    for layout in (Tensor.contiguous, odd):
        assert_fits(score(record, dtype, "bilinear", layout=layout).compile(90))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bilinear", "dense"])
def test_one_class_one_pixel(kind: str, record: Record) -> None:
    """Where every size is 1, Triton makes constants of them, and constants lack much of what tensors can do."""
    one = torch.empty(1, 1, 1, 1)
    window: dict[str, Any] = {"kernel": 4, "stride": 2, "offset": (1, 1), "size": (1, 1), "taps": taps(kind, 1, 4)}
    launches = [
        record(score_upsample_add, one, one, one[0, 0], one[0, 0, 0], skip_offset=(0, 0), **window),
        record(upsample_crop, one, **window),
        record(upsample_argmax, one, **window),
        record(upsample_argmax, one, confidence=True, **window),
    ]
    for launch in launches:
        assert sum(kind.endswith(":1") for kind in launch.arguments.values()) > 10
        assert_fits(launch.compile(90))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bilinear", "dense"])
def test_desktop_blackwell(kind: str, record: Record) -> None:
    """Beside the three that are promised."""
    for launch in (
        score(record, BF16, kind),
        finish(record, upsample_argmax, F32, kind, confidence=True),
        finish(record, upsample_argmax, BF16, kind),
        finish(record, upsample_crop, F32, kind),
    ):
        assert_fits(launch.compile(120))


def test_arguments_are_specialised_as_by_triton(record: Record) -> None:
    launch = score(record, BF16, "bilinear")
    expected = {
        "coarse_ptr": "*fp32:16",
        "skip_ptr": "*bf16:16",
        "scale": "fp32",
        "num_classes": "i32",
        "skip_channels": "i32:16",
        "offset_y": "i32:16",
        "skip_y": "i32",
        "stride_sc": "i32:1",
        "stride_sw": "i32:16",
        "stride_ow": "i32:1",
    }
    assert {name: launch.arguments[name] for name in expected} == expected
    assert aot.argument_type(torch.empty(9, dtype=torch.uint8)[1:]) == "*u8"
    assert aot.argument_type(1 << 31) == "i64:16"
    with pytest.raises(ValueError, match=r"a tensor is torch.complex64; expected one of torch.float32"):
        aot.argument_type(torch.empty(1, dtype=torch.complex64))


def test_what_cannot_be_compiled_is_refused(record: Record) -> None:
    launch = finish(record, upsample_crop, F32, "bilinear")
    with pytest.raises(ValueError, match=r"capability 75 is unknown; expected one of 80, 86, 89, 90, 100, 120"):
        launch.compile(75)
    arguments = launch.arguments | {"offset": "i32"}
    with pytest.raises(ValueError, match=r"lacks nothing and does not take \['offset'\]; expected each of its"):
        aot.compile_kernel(launch.kernel, 90, arguments, launch.constants)
    with pytest.raises(ValueError, match=r"lacks \['BLOCK_X', .*\] and does not take anything else"):
        aot.compile_kernel(launch.kernel, 90, launch.arguments, {})
    with pytest.raises(ValueError, match=r"height is 'i32:8'; expected nothing, 1 or 16 after the colon"):
        aot.compile_kernel(launch.kernel, 90, launch.arguments | {"height": "i32:8"}, launch.constants)
    with pytest.raises(RuntimeError, match=r"is no compiled kernel; expected TRITON_INTERPRET to be off"):
        aot.compile_kernel(len, 90, {}, {})


def test_a_table_is_made_of_them() -> None:
    kernel = aot.CompiledKernel("conv_kernel", 90, 168, 0, 98304, 8, "wgmma.mma_async.sync x; mma.sync y;")
    assert aot.table([kernel]).splitlines()[2:] == [
        "| conv_kernel | sm_90 | 168 | 0 | 98304 | 8 | mma.sync, wgmma.mma_async |"
    ]
    assert kernel.fits
    assert not aot.CompiledKernel("k", 86, 1, 0, (99 << 10) + 1, 4, "").fits
