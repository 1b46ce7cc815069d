"""``fcnrt tune``: measure the tiles of a model's convolutions on the GPU at hand, beside cuDNN."""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path
from typing import Any

import torch

from fcnrt.cli.exit_codes import DONE
from fcnrt.cli.model_options import add_checkpoint_options, image_size, load_model
from fcnrt.engine.fused import FusedFCN
from fcnrt.engine.gpu import tuning_problems
from fcnrt.errors import DeviceError, InputError
from fcnrt_kernels import gpu, tables
from fcnrt_kernels.ahead import compile_ahead
from fcnrt_kernels.tune import measure_on, tune_all


def add_parser(verbs: Any) -> None:
    """Add this verb to the subparsers ``verbs``."""
    parser = verbs.add_parser(
        "tune",
        help="measure the tiles of a model's convolutions on this GPU",
        description="Measure tiles for each convolution of a model at the image sizes that you have, and cuDNN beside "
        "them; the table is read whenever a model runs on this GPU. What it has already is kept.",
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a checkpoint (default: the demo net)")
    parser.add_argument(
        "--size", type=image_size, action="append", metavar="HxW", help="rows x columns (default: 500x500); repeatable"
    )
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images in a call (default: %(default)s)")
    parser.add_argument("--dtype", default="auto", help="auto, float32, float16 or bfloat16 (default: %(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: the table of this GPU in fcnrt's cache")
    parser.add_argument("--most", type=int, default=24, metavar="N", help="tiles to measure (default: %(default)s)")
    parser.add_argument("--again", action="store_true", help="measure anew what the table has")
    add_checkpoint_options(parser)
    parser.set_defaults(run=run, device="auto", engine="fused")


def run(arguments: argparse.Namespace) -> int:
    """Tune, and print the table's path.

    Raises:
        DeviceError: there is no GPU to measure on.
        InputError: a count is under 1, or no convolution of this model runs in our kernels.
    """
    for name in ("batch", "most"):
        if getattr(arguments, name) < 1:
            raise InputError(f"--{name} is {getattr(arguments, name)}; expected 1 or more")
    if not torch.cuda.is_available():
        raise DeviceError(
            f"tiles are measured on a CUDA GPU, and torch {torch.__version__} finds none here; `fcnrt doctor` says more"
        )
    graph = load_model(arguments).engine.graph
    problems = []
    for size in arguments.size or [(500, 500)]:
        if isinstance(graph, FusedFCN) and graph.planned is not None:
            problems += tuning_problems(graph.planned, size, arguments.batch)
    if not problems:
        raise InputError("no convolution of this model runs in fcnrt's kernels; there is nothing to tune")
    device = torch.device("cuda", torch.cuda.current_device())
    target = gpu.target(torch.empty(0, device=device))
    path = arguments.out or tables.user_folder() / tables.file_name(target.name)
    tune_all(
        dict.fromkeys(problems),
        target,
        measure_on(device),
        path,
        again=arguments.again,
        most=arguments.most,
        log=lambda line: print(line, file=sys.stderr),
        prepare=functools.partial(compile_ahead, device=device.index),
    )
    print(path)
    return DONE
