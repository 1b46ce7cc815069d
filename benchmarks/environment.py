"""What a measurement depends on beside the code: processor, GPU, versions, threads. No host names, no paths."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent

COMMIT_VARIABLE = "FCNRT_COMMIT"
"""Names the commit where the tree under test is a copy without its git history."""

LOAD = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
"""Processes that wanted a core in the minute before this one began. Above a fraction of the cores, times are noise."""

_PACKAGES = ("torch", "triton", "numpy", "pytest-benchmark", "jax", "onnxruntime", "openvino")
_NVIDIA_SMI_FIELDS = ("driver_version", "power.limit", "clocks.max.sm", "clocks.max.memory")


def environment() -> dict[str, Any]:
    """The machine and the software that measure, as they are written into result files."""
    model, cores = cpu_model(), available_cores()
    gpu = _gpu() if torch.cuda.is_available() else None
    return {
        "machine": machine_name(model, cores, gpu["name"] if gpu else None),
        "cpu": {"model": model, "cores": cores, "capability": torch.backends.cpu.get_cpu_capability()},
        "gpu": gpu,
        "system": f"{platform.system()} {platform.machine()}",
        "software": {"python": platform.python_version(), **_versions()},
        "threads": torch.get_num_threads(),
        "load": LOAD,
    }


def machine_name(cpu: str, cores: int, gpu: str | None) -> str:
    """The folder of a machine's results: ``nvidia-h200`` by its GPU, or ``amd-epyc-2-cores`` where it has none."""
    if gpu:
        return _slug(gpu)
    plain = re.sub(r"\((R|TM|C)\)|@.*|\b(CPU|Processor|\d+-Core)\b", " ", cpu, flags=re.IGNORECASE)
    return f"{_slug(plain)}-{cores}-core{'' if cores == 1 else 's'}"


def cpu_model() -> str:
    """The processor's own name, such as ``AMD EPYC 7B13``."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def commit() -> dict[str, Any]:
    """The commit under test, and whether the tree differs from it (results of other suites aside)."""
    named = os.environ.get(COMMIT_VARIABLE)
    if named:
        return {"id": named, "dirty": None}
    identity = _output("git", "-C", str(ROOT), "rev-parse", "HEAD")
    changes = _output("git", "-C", str(ROOT), "status", "--porcelain", "--", ".", ":(exclude)benchmarks/results")
    return {"id": identity, "dirty": None if changes is None else bool(changes)}


def _gpu() -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    reported = _output(
        "nvidia-smi",
        f"--id={torch.cuda.current_device()}",
        f"--query-gpu={','.join(_NVIDIA_SMI_FIELDS)}",
        "--format=csv,noheader",
    )
    fields = reported.splitlines()[0].split(", ") if reported else []
    return {
        "name": properties.name,
        "capability": f"sm_{properties.major}{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "l2_mib": round(properties.L2_cache_size / 2**20, 1),
        **dict(zip(_NVIDIA_SMI_FIELDS, fields, strict=False)),
    }


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"cuda": torch.version.cuda, "cudnn": None}
    if torch.cuda.is_available():
        versions["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def _output(*command: str) -> str | None:
    """What a program prints, or None where it is missing or fails."""
    if shutil.which(command[0]) is None:
        return None
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return run.stdout.strip() if run.returncode == 0 else None


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
