"""The options by which a verb is told which network to load, and how."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import fcnrt
from fcnrt.checkpoints import Checkpoint, read_checkpoint
from fcnrt.demo import demo_checkpoint
from fcnrt.loading import locate, published
from fcnrt.models import ARCHITECTURES
from fcnrt.preprocessing import PRESETS
from fcnrt.segmenter import Segmenter

FILE_HELP = "a file, or the name of a published one (fcnrt pull --list)"


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """What a file may not say about itself."""
    group = parser.add_argument_group("what the checkpoint does not say")
    group.add_argument(
        "--arch",
        choices=list(ARCHITECTURES),
        metavar="ARCH",
        help="architecture, such as fcn8s; fcn8s and fcn8s-atonce look alike",
    )
    group.add_argument(
        "--normalization", choices=list(PRESETS), metavar="NAME", help="how images become input, such as caffe-voc"
    )
    group.add_argument(
        "--classes", type=class_names, metavar="NAME,NAME,...", help="a name for each class, background first"
    )
    group.add_argument(
        "--option",
        type=_option,
        action="append",
        default=[],
        dest="options",
        metavar="NAME=VALUE",
        help="an option of the architecture that no tensor tells, such as align_corners=true; may be repeated",
    )


def add_placement_options(parser: argparse.ArgumentParser) -> None:
    """Where and how to compute."""
    group = parser.add_argument_group("where to compute")
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    group.add_argument(
        "--dtype", default="auto", help="auto, float32, float16, bfloat16 or int8 (default: %(default)s)"
    )
    group.add_argument("--engine", default="auto", choices=("auto", "fused", "eager"), help="default: %(default)s")


def read_file(arguments: argparse.Namespace) -> tuple[Path, Checkpoint]:
    """The file that ``FILE`` means, fetched first if it is the name of a published one; and what is in it.

    Raises:
        FcnrtError: as ``fcnrt.load``.
    """
    path = locate(arguments.checkpoint)
    checkpoint = read_checkpoint(
        path,
        arch=arguments.arch,
        normalization=arguments.normalization,
        classes=arguments.classes,
        options=dict(arguments.options),
        registry=published(arguments.checkpoint),
    )
    return Path(path), checkpoint


def load_model(arguments: argparse.Namespace) -> Segmenter:
    """The model that ``--model`` names; without it the demo net, which is said on stderr.

    Raises:
        FcnrtError: as ``fcnrt.load``.
    """
    path = arguments.model
    if path is None:
        path = demo_checkpoint()
        print(
            "fcnrt: no --model given: using the demo net, which knows drawn scenes, not photos",
            file=sys.stderr,
        )
    return fcnrt.load(
        path,
        device=arguments.device,
        dtype=arguments.dtype,
        engine=arguments.engine,
        arch=arguments.arch,
        normalization=arguments.normalization,
        classes=arguments.classes,
        options=dict(arguments.options),
    )


def image_size(text: str) -> tuple[int, int]:
    """``HxW``."""
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not HxW, such as 375x500")
    return int(match[1]), int(match[2])


def class_names(text: str) -> tuple[str, ...]:
    """Names that commas part."""
    return tuple(name.strip() for name in text.split(","))


def _option(text: str) -> tuple[str, Any]:
    """``NAME=VALUE``: a JSON value, or else the text itself."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
