"""``fcnrt segment``: a label map and an overlay for each image."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from fcnrt.cli.exit_codes import DONE, SOME_FAILED
from fcnrt.cli.model_options import add_checkpoint_options, add_placement_options, load_model
from fcnrt.errors import FcnrtError, ImageError, InputError
from fcnrt.imagefiles import write_png
from fcnrt.images import list_images
from fcnrt.preprocessing import KINDS, Kind
from fcnrt.segmenter import Segmenter

MAX_NAMED = 4
"""Classes that a line for people names."""


@dataclass(frozen=True)
class Job:
    """One image, the files to be written for it, and those that the network takes beside it, by ``segment``'s names."""

    image: Path
    labels: Path
    overlay: Path | None
    beside: Mapping[Kind, Path] = field(default_factory=dict)


def add_parser(verbs: Any) -> None:
    """Add this verb to the subparsers ``verbs``."""
    parser = verbs.add_parser(
        "segment",
        help="label every pixel of images",
        description="Write for each image NAME.png, an indexed PNG with one class index a pixel, and "
        "NAME.overlay.png, the image under the colours of its classes with a legend.",
    )
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="an image, a folder of them, or a pattern such as 'photos/*.jpg'",
    )
    parser.add_argument(
        "--model", metavar="FILE", help="the checkpoint, or the name of a published one (default: the demo net)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("segmented"),
        metavar="DIR",
        help="where to write (default: %(default)s)",
    )
    parser.add_argument(
        "--resize",
        type=int,
        metavar="PIXELS",
        help="bring the shorter side to this size first (520: torchvision's)",
    )
    for kind, (name, _) in KINDS.items():
        parser.add_argument(
            f"--{kind}",
            metavar="FILE",
            help=f"{name} of the image, for nets that take it beside colour; a folder or pattern for several images, "
            "in the same order",
        )
    parser.add_argument("--alpha", type=float, default=0.5, help="strength of the overlay's colours, 0 to 1")
    parser.add_argument("--no-overlay", action="store_true", help="write label maps only")
    parser.add_argument("--json", action="store_true", help="print a line of JSON per image")
    add_checkpoint_options(parser)
    add_placement_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Segment what the command line names."""
    if not 0 <= arguments.alpha <= 1:
        raise InputError(f"--alpha is {arguments.alpha}; expected 0 to 1")
    if arguments.resize is not None and arguments.resize < 1:
        raise InputError(f"--resize is {arguments.resize}; expected the shorter side in pixels, such as 520")
    images, missing = find_images(arguments.images)
    failed = missing
    given = {kind: source for kind in KINDS if (source := getattr(arguments, kind)) is not None}
    beside = {kind: list_images([source]) for kind, source in given.items()}
    kept = [file for files in beside.values() for file in files]
    jobs = add_beside(plan_jobs(images, arguments.out, overlay=not arguments.no_overlay, kept=kept), beside)
    model = load_model(arguments)
    for position, (job, record) in enumerate(
        segment_files(model, jobs, alpha=arguments.alpha, resize=arguments.resize), start=1
    ):
        if "error" in record:
            failed += 1
            report_failure(record["error"])
        if arguments.json:
            print(json.dumps(record), flush=True)
        elif "error" not in record:
            print(describe(job, record), flush=True)
        show_progress(position, len(jobs))
    if failed:
        rest = "; the rest is written" if failed - missing < len(jobs) else ""
        print(f"fcnrt: {failed} failed{rest}", file=sys.stderr)
    return SOME_FAILED if failed else DONE


def find_images(sources: Sequence[str]) -> tuple[list[Path], int]:
    """The images that ``sources`` name, each once, and how many sources name none (each is said on stderr)."""
    images: dict[Path, None] = {}
    failed = 0
    for source in sources:
        try:
            images.update(dict.fromkeys(list_images([source])))
        except ImageError as error:
            failed += 1
            report_failure(str(error))
    return list(images), failed


def plan_jobs(images: Sequence[Path], out: Path, *, overlay: bool = True, kept: Collection[Path] = ()) -> list[Job]:
    """Names for the results: the image's path below the folder that all images share, with another suffix.

    Two images that differ in their suffix alone keep it, so that no result overwrites another.

    Raises:
        InputError: a result would overwrite an image, or a file of ``kept``.
    """
    if not images:
        return []
    absolute = [Path(os.path.abspath(image)) for image in images]
    root = Path(os.path.commonpath([image.parent for image in absolute]))
    stems = Counter(image.with_suffix("") for image in absolute)
    taken = {*absolute, *(Path(os.path.abspath(file)) for file in kept)}
    jobs = []
    for image, path in zip(images, absolute, strict=True):
        name = path.relative_to(root)
        base = out / (name if stems[path.with_suffix("")] > 1 else name.with_suffix(""))
        job = Job(
            image,
            base.with_name(base.name + ".png"),
            base.with_name(base.name + ".overlay.png") if overlay else None,
        )
        for result in filter(None, (job.labels, job.overlay)):
            if Path(os.path.abspath(result)) in taken:
                raise InputError(f"{result} would overwrite an image; choose another folder with --out")
        jobs.append(job)
    return jobs


def add_beside(jobs: Sequence[Job], beside: Mapping[Kind, Sequence[Path]]) -> list[Job]:
    """The jobs, each with its file of every kind of ``beside``, in the same order.

    Raises:
        InputError: there are more files than jobs, or fewer.
    """
    for kind, files in beside.items():
        if len(files) != len(jobs):
            raise InputError(f"--{kind} names {len(files)} files for {len(jobs)} images; expected one for each image")
    return [
        replace(job, beside={kind: files[index] for kind, files in beside.items()}) for index, job in enumerate(jobs)
    ]


def segment_files(
    model: Segmenter, jobs: Sequence[Job], *, alpha: float = 0.5, resize: int | None = None
) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Do the jobs one by one, and say of each what was written or, under ``error``, what went wrong."""
    for job in jobs:
        try:
            result = model.segment(job.image, hha=job.beside.get("hha"), depth=job.beside.get("depth"), resize=resize)
            result.save(job.labels)
            if job.overlay is not None:
                write_png(result.overlay(alpha), job.overlay)
        except (FcnrtError, OSError, MemoryError, torch.OutOfMemoryError) as error:
            yield job, {"path": str(job.image), "error": str(error) or type(error).__name__}
            continue
        written = {"labels": str(job.labels), "overlay": None if job.overlay is None else str(job.overlay)}
        yield job, {**result.to_dict(), **written}


def describe(job: Job, record: dict[str, Any]) -> str:
    """A line for people."""
    classes = [f"{row['class']} {row['share']:.1%}" for row in record["classes"][:MAX_NAMED]]
    more = len(record["classes"]) - MAX_NAMED
    if more > 0:
        classes.append(f"{more} more")
    return f"{job.image} -> {job.labels}: {', '.join(classes)}"


def report_failure(message: str) -> None:
    """Say on stderr that one input failed; the run goes on."""
    print(f"fcnrt: error: {message}", file=sys.stderr)


def show_progress(position: int, total: int) -> None:
    """A counter on the last line of a terminal, and nothing in a file or a pipe."""
    if total > 1 and sys.stderr.isatty():
        end = "\n" if position == total else ""
        print(f"\rfcnrt: {position}/{total}", end=end, file=sys.stderr, flush=True)
