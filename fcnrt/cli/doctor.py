"""``fcnrt doctor``: what this machine can do, and whether fcnrt computes correctly on it."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
from typing import Any

import torch

import fcnrt
from fcnrt.cli.exit_codes import DONE, INTERNAL_ERROR
from fcnrt.demo import demo_checkpoint, sample_images
from fcnrt.engine.placement import cpu_has_bfloat16
from fcnrt.images import read_image
from fcnrt.preprocessing import normalize
from fcnrt_kernels.dispatch import has_triton, runs_triton

AGREEMENT = 0.999
"""Least share of pixels on which the chosen type must label as eager float32 does."""


def add_parser(verbs: Any) -> None:
    """Add this verb to the subparsers ``verbs``."""
    parser = verbs.add_parser(
        "doctor",
        help="say what this machine can do, and check that results are right on it",
        description="Print versions and devices, then label a sample image with the demo net and compare with eager "
        "float32. Exit code 1 if they disagree.",
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Describe the machine, check the default placement on it."""
    report = environment()
    model = fcnrt.load(demo_checkpoint())
    report["placement"] = model.engine.placement.reason
    report["decoder"] = "Triton kernels" if runs_triton(torch.empty(0, device=model.device)) else "torch"
    report["agreement"] = check(model)
    healthy = report["agreement"] >= AGREEMENT
    if arguments.json:
        print(json.dumps({**report, "healthy": healthy}))
    else:
        for name, value in report.items():
            shown = f"{value:.4%} of the labels are eager float32's" if name == "agreement" else value
            print(f"{name:<12} {shown}")
        print("fcnrt works here" if healthy else f"fcnrt is WRONG here: expected at least {AGREEMENT:.1%}")
    return DONE if healthy else INTERNAL_ERROR


def environment() -> dict[str, Any]:
    """Versions, devices, and the tools that compile."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "fcnrt": fcnrt.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "triton": importlib.metadata.version("triton") if has_triton() else "not installed",
        "gpus": ", ".join(gpus) or "none",
        "cpu": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}, {'' if cpu_has_bfloat16() else 'no '}bfloat16 hardware",
        "compiler": next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), "none"),
    }


def check(model: fcnrt.Segmenter) -> float:
    """The share of a sample image's pixels that ``model`` labels as its eager float32 reference does."""
    pixels = torch.from_numpy(read_image(sample_images()[0])).permute(2, 0, 1)[None]
    x = normalize(pixels.to(model.device), model.spec.normalization)
    with torch.inference_mode():
        return float((model.predict_labels(x) == model.reference(x).argmax(dim=1)).float().mean())
