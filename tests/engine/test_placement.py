"""Where and in which type a model runs, and the reason that goes with it."""

from __future__ import annotations

import pytest
import torch

from fcnrt.engine import choose_engine, choose_placement, placement
from fcnrt.errors import DeviceError, InputError


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The capabilities of the GPUs that torch is made to see."""
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(found))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(found))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: found[torch.device(device).index or 0])
    return found


@pytest.mark.parametrize(
    ("capability", "dtype", "undecided", "reason"),
    [
        ((9, 0), torch.bfloat16, {torch.bfloat16, torch.float16}, "sm_90 multiplies bfloat16 and float16"),
        ((7, 5), torch.float32, set(), "sm_75 has no bfloat16"),
    ],
)
def test_auto_takes_the_gpu_and_its_native_type(
    gpus: list[tuple[int, int]],
    capability: tuple[int, int],
    dtype: torch.dtype,
    undecided: set[torch.dtype],
    reason: str,
) -> None:
    """Of two 16-bit types the net decides, and bfloat16 is the one without a net."""
    gpus.append(capability)
    chosen = choose_placement()
    assert (chosen.device, chosen.dtype) == (torch.device("cuda", 0), dtype)
    assert set(chosen.undecided) == undecided and chosen.calibrated == bool(undecided)
    assert reason in chosen.reason


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_on_the_cpu(
    gpus: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch, native: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(placement, "cpu_has_bfloat16", lambda: native)
    chosen = choose_placement()
    assert (chosen.device, chosen.dtype, chosen.calibrated) == (torch.device("cpu"), dtype, False)
    assert "no CUDA GPU is available" in chosen.reason


def test_what_is_asked_for_is_what_is_taken(gpus: list[tuple[int, int]]) -> None:
    gpus += [(8, 0), (9, 0)]
    assert choose_placement("cuda:1", "float16").device == torch.device("cuda", 1)
    asked = choose_placement(torch.device("cpu"), torch.float16)
    assert (asked.dtype, asked.undecided, asked.calibrated) == (torch.float16, (), True)
    assert choose_engine("eager") == "eager"


def test_refusals(gpus: list[tuple[int, int]]) -> None:
    with pytest.raises(DeviceError, match=r"'cuda:3' was asked for, and torch .* sees 0 CUDA GPUs; use device='cpu'"):
        choose_placement("cuda:3")
    with pytest.raises(InputError, match="unknown device 'gpu'; expected 'auto', 'cpu', 'cuda' or 'cuda:N'"):
        choose_placement("gpu")
    for device in (None, 1.5, "cuda:-1"):
        with pytest.raises(InputError, match="expected 'auto', 'cpu', 'cuda' or 'cuda:N'"):
            choose_placement(device)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(InputError, match="'meta' is not supported"):
        choose_placement("meta")
    for dtype in ("fp8", torch.int64):
        with pytest.raises(InputError, match="is not supported; expected 'auto', 'float32'"):
            choose_placement("cpu", dtype)
    with pytest.raises(InputError, match="unknown engine 'triton'; expected 'auto', 'fused', 'eager'"):
        choose_engine("triton")
