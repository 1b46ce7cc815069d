"""Which device and which number type a model runs on. Each choice comes with its reason.

Which of two 16-bit types keeps a net's labels better depends on the net: ``fcnrt.engine.precision`` decides that.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from fcnrt.errors import DeviceError, InputError

DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int8": torch.int8,
}


@dataclass(frozen=True)
class Placement:
    """Where a model runs, in which type, and why.

    Args:
        device: where.
        dtype: in which type.
        reason: why.
        undecided: types that the hardware computes in equally well, between which the net decides; ``dtype`` is the one
            for whoever does not ask it. Empty where there is nothing to decide.
    """

    device: torch.device
    dtype: torch.dtype
    reason: str
    undecided: tuple[torch.dtype, ...] = ()

    @property
    def calibrated(self) -> bool:
        """Whether images have to show how large a net's numbers become."""
        return self.dtype in (torch.int8, torch.float16) or bool(self.undecided)


def choose_placement(device: str | torch.device = "auto", dtype: str | torch.dtype = "auto") -> Placement:
    """Resolve ``"auto"``: the first CUDA GPU if there is one, and the narrowest type with matrix hardware.

    Raises:
        DeviceError: the device does not exist on this machine.
        InputError: a device or type that fcnrt does not know.
    """
    chosen_device, device_reason = _choose_device(device)
    (chosen_dtype, *others), dtype_reason = _choose_dtype(dtype, chosen_device)
    undecided = (chosen_dtype, *others) if others else ()
    return Placement(chosen_device, chosen_dtype, f"{device_reason}; {dtype_reason}", undecided)


def _choose_device(device: str | torch.device) -> tuple[torch.device, str]:
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device()), "a CUDA GPU is available"
        return torch.device("cpu"), "no CUDA GPU is available"
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"unknown device {device!r}; expected 'auto', 'cpu', 'cuda' or 'cuda:N'") from error
    if chosen.type not in ("cpu", "cuda"):
        raise InputError(f"device {str(chosen)!r} is not supported; expected 'cpu' or 'cuda'")
    if chosen.type == "cuda":
        found = torch.cuda.device_count()
        if (chosen.index or 0) >= found:
            raise DeviceError(
                f"device {str(chosen)!r} was asked for, and torch {torch.__version__} sees {found} CUDA GPUs; "
                f"use device='cpu', or check the driver with `fcnrt doctor`"
            )
        index = torch.cuda.current_device() if chosen.index is None else chosen.index
        chosen = torch.device("cuda", index)
    return chosen, f"{chosen} was asked for"


def _choose_dtype(dtype: str | torch.dtype, device: torch.device) -> tuple[tuple[torch.dtype, ...], str]:
    if dtype == "auto":
        if device.type == "cuda":
            major, minor = torch.cuda.get_device_capability(device)
            if major >= 8:
                reason = f"sm_{major}{minor} multiplies bfloat16 and float16 matrices in hardware"
                return (torch.bfloat16, torch.float16), reason
            return (torch.float32,), f"sm_{major}{minor} has no bfloat16 matrix hardware"
        if cpu_has_bfloat16():
            return (torch.bfloat16,), "the processor multiplies bfloat16 matrices in hardware"
        return (torch.float32,), "the processor has neither AVX512-BF16 nor AMX"
    chosen = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if chosen is None or chosen not in DTYPES.values():
        raise InputError(f"dtype {dtype!r} is not supported; expected 'auto', {', '.join(map(repr, DTYPES))}")
    if chosen == torch.int8 and device.type != "cpu":
        raise InputError(f"int8 runs on the CPU only, and the device is {device}; use device='cpu' or another dtype")
    return (chosen,), f"{str(chosen).removeprefix('torch.')} was asked for"


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 matrices natively (AVX512-BF16 or AMX)."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
