"""Trains the demo net from nothing but drawn scenes: ``python -m fcnrt.demo.train``.

Writes ``fcn8s-demo.safetensors`` and ``report.json`` into ``--out``. Everything follows from ``--seed`` and the other
options, up to the rounding of the machine's arithmetic.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from fcnrt.checkpoints import write_safetensors
from fcnrt.demo import CHECKPOINT_NAME, REPORT_NAME
from fcnrt.demo.evaluate import NORMALIZATION
from fcnrt.demo.replicas import Replica, run_replicas
from fcnrt.demo.scenes import CLASSES
from fcnrt.demo.staged import CLASSIFIER, PRETRAINING, STAGES, TRAINING_SEED, Settings, Trained, Trainer
from fcnrt.models import VGGFCN
from fcnrt.palettes import voc_palette
from fcnrt.preprocessing import get_normalization
from fcnrt.spec import ModelSpec

CONTROL = "fcn32s-longer"
"""FCN-32s trained on for as long as the two finer nets: what more steps alone are worth."""
QUICK = Settings(
    length=0.001,
    width=0.03125,
    scenes=4,
    size=64,
    crop=64,
    window=64,
    window_batch=2,
    portraits=8,
    portrait=32,
    held_out=2,
    held_out_size=(48, 64),
    workers=1,
)


@dataclass(frozen=True)
class Job:
    settings: Settings
    out: Path
    control: bool


def train(replica: Replica, job: Job) -> dict[str, Any]:
    """Runs the stages and writes the files (rank 0), the checkpoint as soon as there is one; returns the report."""
    began = time.monotonic()
    trainer = Trainer(job.settings, replica)
    pretrained = trainer.pretrain()
    results: dict[str, Trained] = {}
    net = pretrained
    for stage in STAGES:
        trained = trainer.train(stage, net)
        net = trained.model
        results[stage.arch] = _announce(replica, stage.arch, trained)
    if replica.rank == 0:
        job.out.mkdir(parents=True, exist_ok=True)
        write_checkpoint(job.out / CHECKPOINT_NAME, results["fcn8s"].model)
    if job.control:
        longer = results["fcn32s"]
        for stage in STAGES[1:]:
            more = trainer.train(replace(stage, arch="fcn32s"), longer.model)
            longer = replace(more, steps=longer.steps + more.steps, seconds=longer.seconds + more.seconds)
        results[CONTROL] = _announce(replica, CONTROL, longer)
    report = make_report(job.settings, results, time.monotonic() - began)
    if replica.rank == 0:
        write_report(job.out / REPORT_NAME, report)
    return report


def _announce(replica: Replica, name: str, trained: Trained) -> Trained:
    if replica.rank == 0:
        sys.stderr.write(
            f"{name}: held-out mean IU {trained.scores.mean_iu:.4f}, "
            f"pixel accuracy {trained.scores.pixel_accuracy:.4f}, {trained.seconds:.0f} s\n"
        )
    return trained


def write_checkpoint(path: Path, model: VGGFCN) -> None:
    """The net as float16 safetensors, with its spec."""
    spec = ModelSpec(
        arch="fcn8s",
        num_classes=len(CLASSES),
        classes=CLASSES,
        palette=voc_palette(len(CLASSES)),
        normalization=get_normalization(NORMALIZATION),
        options={"width": model.width},
    )
    write_safetensors(path, spec, {key: value.half() for key, value in model.state_dict().items()})


def make_report(settings: Settings, results: dict[str, Trained], seconds: float) -> dict[str, Any]:
    """Everything that is claimed of the demo net, and what it takes to get it again."""
    return {
        "scores": {
            name: {
                **{figure: round(value, 4) for figure, value in asdict(result.scores).items() if figure != "class_iu"},
                "class_iu": {label: round(iu, 4) for label, iu in zip(CLASSES, result.scores.class_iu, strict=True)},
                "steps": result.steps,
                "seconds": round(result.seconds),
            }
            for name, result in results.items()
        },
        "held_out": {
            "seeds": [0, settings.held_out],
            "height": settings.held_out_size[0],
            "width": settings.held_out_size[1],
        },
        "training": {
            "seeds": [TRAINING_SEED, TRAINING_SEED + settings.scenes],
            "settings": asdict(settings),
            "pretraining": [asdict(stage) for stage in (CLASSIFIER, PRETRAINING)],
            "stages": [asdict(stage) for stage in STAGES],
            "seconds": round(seconds),
        },
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cores": os.cpu_count(),
            "machine": platform.machine(),
            "system": platform.system(),
        },
    }


def write_report(path: Path, report: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def main(arguments: Sequence[str] | None = None) -> int:
    default = Settings()
    parser = argparse.ArgumentParser(prog="python -m fcnrt.demo.train", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo-training"), help="folder to write into (%(default)s)")
    parser.add_argument("--length", type=float, default=1.0, help="multiplies the steps of every stage (%(default)s)")
    parser.add_argument("--width", type=float, default=default.width, help="of the net; 1 is VGG16 (%(default)s)")
    parser.add_argument("--size", type=int, default=default.size, help="side of a training scene (%(default)s)")
    parser.add_argument("--scenes", type=int, default=default.scenes, help="training scenes to draw (%(default)s)")
    parser.add_argument("--workers", type=int, default=default.workers, help="processes (%(default)s)")
    parser.add_argument("--seed", type=int, default=default.seed, help="of weights and batches (%(default)s)")
    parser.add_argument("--no-control", action="store_true", help="skip FCN-32s trained for as long as FCN-8s")
    parser.add_argument("--quick", action="store_true", help="a few steps of a tiny net: does it run at all?")
    options = parser.parse_args(arguments)
    settings = QUICK
    if not options.quick:
        settings = replace(
            default,
            length=options.length,
            width=options.width,
            size=options.size,
            scenes=options.scenes,
            workers=options.workers,
            seed=options.seed,
        )
    run_replicas(settings.workers, train, Job(settings, options.out, not options.no_control))
    sys.stderr.write(f"wrote {options.out / CHECKPOINT_NAME} and {options.out / REPORT_NAME}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
