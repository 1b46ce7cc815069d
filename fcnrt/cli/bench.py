"""``fcnrt bench``: a model beside its eager reference, on this machine."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import torch
from torch import Tensor

from fcnrt.cli.exit_codes import DONE
from fcnrt.cli.model_options import add_checkpoint_options, add_placement_options, image_size, load_model
from fcnrt.demo.scenes import scene
from fcnrt.errors import InputError
from fcnrt.measuring import Comparison, Startup, compare, start_up
from fcnrt.preprocessing import Normalization, normalize
from fcnrt.segmenter import Segmenter

Size = tuple[int, int]

DEFAULT_SIZE = (375, 500)
"""Rows and columns of many photos of PASCAL VOC."""


def add_parser(verbs: Any) -> None:
    """Add this verb to the subparsers ``verbs``."""
    parser = verbs.add_parser(
        "bench",
        help="time a model beside its eager reference, on this machine",
        description="Label drawn scenes with a model and with its eager float32 reference, in turn, and print the "
        "median time, the peak memory of activations (weights and what is kept from image to image apart), and how "
        "far labels and logits agree.",
    )
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="a checkpoint or a published name (default: demo net)"
    )
    parser.add_argument(
        "--size",
        type=image_size,
        nargs="+",
        action="extend",
        dest="sizes",
        metavar="HxW",
        help="rows x columns of the images; may be several (default: 375x500)",
    )
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images at a time (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="timed calls (default: %(default)s)")
    parser.add_argument("--startup", action="store_true", help="also say what comes before the steady state")
    parser.add_argument("--json", action="store_true", help="print a line of JSON per size")
    add_checkpoint_options(parser)
    add_placement_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Time the model that the command line names, at each size."""
    for option in ("batch", "repeats"):
        if getattr(arguments, option) < 1:
            raise InputError(f"--{option} is {getattr(arguments, option)}; expected at least 1")
    started = time.perf_counter()
    model = load_model(arguments)
    loaded = time.perf_counter() - started
    for size in arguments.sizes or [DEFAULT_SIZE]:
        x = images(arguments.batch, size, model.spec.normalization).to(model.device)
        startup = start_up(model, x)
        compared = compare(model, x, arguments.repeats)
        record = as_dict(model, x, compared)
        if arguments.startup:
            record["startup"] = {"load_seconds": loaded, "plan_seconds": startup.plan, "first_seconds": startup.first}
        if arguments.json:
            print(json.dumps(record), flush=True)
        else:
            print("\n".join(as_lines(record, compared)), flush=True)
            if arguments.startup:
                print("\n".join(startup_lines(loaded, startup, compared)), flush=True)
    return DONE


def images(count: int, size: Size, rule: Normalization) -> Tensor:
    """Drawn scenes as network input, ``[count,C,*size]``, with whatever the net takes beside colour."""

    def drawn(first: int) -> Tensor:
        pixels = [torch.from_numpy(scene(first + index, *size)[0]) for index in range(count)]
        return torch.stack(pixels).permute(0, 3, 1, 2).contiguous()

    if rule.beside is None:
        return normalize(drawn(0), rule)
    other = drawn(count)
    # As depth, brightness: up to ten metres of it.
    beside = other if rule.beside.kind == "hha" else other.float().mean(dim=1, keepdim=True) * (10_000 / 255)
    return normalize(drawn(0), rule, beside)


def as_dict(model: Segmenter, x: Tensor, compared: Comparison) -> dict[str, Any]:
    """Everything, for programs. Sizes in bytes, times in seconds."""
    return {
        "arch": model.spec.arch,
        "num_classes": model.spec.num_classes,
        "engine": model.engine_name,
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "height": x.shape[2],
        "width": x.shape[3],
        "batch": x.shape[0],
        "eager": vars(compared.eager),
        "fused": vars(compared.fused),
        "ratio": compared.ratio,
        "relative_error": compared.agreement.relative_error,
        "label_agreement": compared.agreement.labels,
    }


def as_lines(record: dict[str, Any], compared: Comparison) -> list[str]:
    """The same for people."""
    count = record["threads"]
    threads = f", {count} thread{'' if count == 1 else 's'}" if record["device"] == "cpu" else ""
    name = f"{record['engine']} {record['dtype']}"
    share = compared.fused.peak_bytes / compared.eager.peak_bytes
    agreement = compared.agreement
    return [
        f"{record['arch']}, {record['num_classes']} classes, {record['height']}x{record['width']}, "
        f"batch {record['batch']}, on {record['device']}{threads}",
        _line("", "eager float32", name, ""),
        _line(
            "time",
            _milliseconds(compared.eager.seconds),
            _milliseconds(compared.fused.seconds),
            f"{compared.ratio:.2f}x",
        ),
        _line(
            "peak memory", _megabytes(compared.eager.peak_bytes), _megabytes(compared.fused.peak_bytes), f"{share:.0%}"
        ),
        # Rounded down, so that 100 % means every pixel.
        _line("labels equal", "", f"{int(agreement.labels * 1e5) / 1e3:g} %", ""),
        _line("relative error", "", f"{agreement.relative_error:.1e}", ""),
    ]


def startup_lines(loaded: float, startup: Startup, compared: Comparison) -> list[str]:
    """How the time to the steady state is made up."""
    return [
        _line("load", "", _milliseconds(loaded), "read the file, pack the weights"),
        _line("plan", "", _milliseconds(startup.plan), "steps for this size, and the constants"),
        _line("first call", "", _milliseconds(startup.first), ""),
        _line("steady", "", _milliseconds(compared.fused.seconds), ""),
    ]


def _line(name: str, eager: str, fused: str, more: str) -> str:
    return f"  {name:<14}  {eager:>13}  {fused:>15}  {more}".rstrip()


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds * 1e3:.0f} ms"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
