"""``fcnrt info``: what a checkpoint holds, and how each part of it is known."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from fcnrt.checkpoints import Checkpoint
from fcnrt.cli.exit_codes import DONE
from fcnrt.cli.model_options import FILE_HELP, add_checkpoint_options, image_size, read_file
from fcnrt.cli.planning import make_plan
from fcnrt.engine import choose_placement


def add_parser(verbs: Any) -> None:
    """Add this verb to the subparsers ``verbs``."""
    parser = verbs.add_parser(
        "info",
        help="say what a checkpoint holds",
        description="Print what was recognised in a checkpoint, and where each part is known from: the tensors, "
        "the file's metadata, the registry of published files, its name, an option given here, or a default.",
    )
    parser.add_argument("checkpoint", metavar="FILE", help=FILE_HELP)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    add_checkpoint_options(parser)
    plan = parser.add_argument_group("how it would run")
    plan.add_argument("--plan", action="store_true", help="also print each step for one image size, its choice and why")
    plan.add_argument(
        "--size", type=image_size, default=(375, 500), metavar="HxW", help="rows x columns (default: 375x500)"
    )
    plan.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    plan.add_argument("--dtype", default="auto", help="auto, float32, float16 or bfloat16 (default: %(default)s)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read the checkpoint that the command line names, and describe it."""
    path, checkpoint = read_file(arguments)
    plan = None
    if arguments.plan:
        plan = make_plan(checkpoint, arguments.size, choose_placement(arguments.device, arguments.dtype))
    if arguments.json:
        print(json.dumps(as_dict(path, checkpoint) | ({} if plan is None else {"plan": plan.as_dict()})))
    else:
        print("\n".join([*as_lines(path, checkpoint), *([] if plan is None else plan.as_lines())]))
    for note in checkpoint.notes:
        print(f"fcnrt: note: {note}", file=sys.stderr)
    return DONE


def as_dict(path: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """Everything, for programs."""
    spec = checkpoint.spec
    return {
        "path": str(path),
        "bytes": path.stat().st_size,
        "container": checkpoint.container,
        "layout": checkpoint.layout,
        "wrapping": list(checkpoint.wrapping),
        "stored_dtypes": list(checkpoint.stored_dtypes),
        "parameters": sum(tensor.numel() for tensor in checkpoint.state_dict.values()),
        "arch": spec.arch,
        "width": spec.width,
        "options": dict(spec.options),
        "told": dict(checkpoint.told),
        "heads": {head: list(names) for head, names in spec.heads.items()},
        "num_classes": spec.num_classes,
        "classes": list(spec.classes),
        "palette": [list(color) for color in spec.palette],
        "normalization": json.loads(spec.normalization.to_json()),
        "sources": dict(spec.sources),
        "notes": list(checkpoint.notes),
    }


def as_lines(path: Path, checkpoint: Checkpoint) -> list[str]:
    """The same for people: a name, a value, and in brackets how it is known."""
    record = as_dict(path, checkpoint)
    spec = checkpoint.spec
    rule = spec.normalization
    rows = [
        ("file", f"{path} ({record['bytes'] / 1e6:.1f} MB)", None),
        ("container", f"{checkpoint.container}, stored as {', '.join(checkpoint.stored_dtypes)}", None),
        ("layout", checkpoint.layout, None),
        ("wrapping", ", ".join(checkpoint.wrapping) or "none", None),
        ("architecture", spec.arch, "arch"),
        ("width", f"{spec.width:g} of the original's, {record['parameters']:,} parameters", "width"),
        *((name, value, name) for name, value in spec.options.items() if name != "width"),
        *((name, value, name) for name, value in checkpoint.told.items()),
        ("classes", f"{spec.num_classes}: {', '.join(spec.classes)}", "classes"),
        (
            "normalization",
            f"{rule.name}: {rule.order.upper()} * {rule.scale:.6g} - {_triple(rule.mean)}, / {_triple(rule.std)}",
            "normalization",
        ),
        *((f"head {head}", f"{len(names)}: {', '.join(names)}", None) for head, names in spec.heads.items()),
    ]
    return [
        f"{name:<14} {value}" + (f"  [{spec.sources[field]}]" if field and field in spec.sources else "")
        for name, value, field in rows
    ]


def _triple(values: tuple[float, float, float]) -> str:
    return f"({', '.join(f'{value:g}' for value in values)})"
