"""How much memory there is to give, and what is said where the system does not tell."""

from __future__ import annotations

import builtins
import io
import os
from typing import Any

import pytest
import torch

from fcnrt.engine import available_memory
from fcnrt.engine.memory import UNKNOWN

CPU = torch.device("cpu")


def meminfo(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    """Makes /proc/meminfo hold ``text``, or not be there."""
    plain = builtins.open

    def opened(path: Any, *args: Any, **kwargs: Any) -> Any:
        if path != "/proc/meminfo":
            return plain(path, *args, **kwargs)
        if text is None:
            raise FileNotFoundError(path)
        return io.StringIO(text)

    monkeypatch.setattr(builtins, "open", opened)


def test_linux_says_what_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo(monkeypatch, "MemTotal:  900 kB\nMemFree:   100 kB\nMemAvailable:   300 kB\n")
    assert available_memory(CPU) == 300 * 1024


@pytest.mark.parametrize("text", [None, "MemTotal:  900 kB\n"], ids=["no-file", "no-line"])
def test_elsewhere_it_is_all_there_is(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    meminfo(monkeypatch, text)
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 10, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert available_memory(CPU) == 40960


def test_where_nothing_is_said_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo(monkeypatch, None)

    def unknown(name: str) -> int:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "sysconf", unknown)
    assert available_memory(CPU) == UNKNOWN


def test_a_gpu_also_gives_what_torch_keeps_in_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 200)
    assert available_memory(torch.device("cuda", 0)) == 1300
