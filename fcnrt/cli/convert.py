"""``fcnrt convert``: any checkpoint to a safetensors file that needs no guess."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from fcnrt.checkpoints import write_safetensors
from fcnrt.cli.exit_codes import DONE
from fcnrt.cli.model_options import FILE_HELP, add_checkpoint_options, read_file
from fcnrt.cli.output_file import check_output
from fcnrt.engine.placement import DTYPES

STORED = [name for name, dtype in DTYPES.items() if dtype.is_floating_point]
"""Types that weights are stored in; int8 is made of them when a model is loaded."""


def add_parser(verbs: Any) -> None:
    """Add this verb to the subparsers ``verbs``."""
    parser = verbs.add_parser(
        "convert",
        help="write a checkpoint as safetensors, with all that is known about it",
        description="Read a checkpoint of any layout and write it as safetensors, under canonical names, with "
        "architecture, classes and normalization in the metadata. What was guessed, or said with an option here, is a "
        "fact of the new file.",
    )
    parser.add_argument("checkpoint", metavar="FILE", help=FILE_HELP)
    parser.add_argument("out", type=Path, metavar="OUT.safetensors")
    parser.add_argument("--dtype", choices=STORED, default="float32", help="stored as (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="replace OUT.safetensors if it exists")
    add_checkpoint_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Convert the checkpoint that the command line names."""
    out = arguments.out
    check_output(out, force=arguments.force)
    path, checkpoint = read_file(arguments)
    dtype = DTYPES[arguments.dtype]
    write_safetensors(out, checkpoint.spec, {name: t.to(dtype) for name, t in checkpoint.state_dict.items()})
    spec = checkpoint.spec
    print(f"{path} -> {out}: {spec.arch}, {spec.num_classes} classes, {arguments.dtype}")
    for note in checkpoint.notes:
        print(f"fcnrt: note, now a fact of {out}: {note}", file=sys.stderr)
    return DONE
