"""How much memory a device has to give."""

from __future__ import annotations

import contextlib
import os

import torch

UNKNOWN = 1 << 62
"""Bytes, where the system does not say."""


def available_memory(device: torch.device) -> int:
    """Bytes that can still be allocated on ``device`` without pushing anybody else out."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/meminfo", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return UNKNOWN
