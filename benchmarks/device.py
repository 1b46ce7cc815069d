"""All that a GPU is needed for, as one command: is it right on the device, and how fast is it.

    PYTHONPATH=.:kernels python -m benchmarks.device                     # every stage that has no result yet
    PYTHONPATH=.:kernels python -m benchmarks.device parity_ops kernel   # these, if they have none yet

Each stage takes minutes at most and writes ``DIR/<machine>/<stage>.json`` when it ends, so a run that was cut short is
continued by the same command. Needs torch, triton, pytest and pytest-benchmark; nothing has to be installed of fcnrt.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.conv_table import LAYERS, Layer
from benchmarks.environment import COMMIT_VARIABLE, ROOT, commit, environment
from benchmarks.results import RESULTS, SCHEMA_VERSION, write_json


@dataclass(frozen=True)
class Stage:
    """Tests to run; a parity stage's result is made of what they record, a benchmark writes its own."""

    name: str
    arguments: tuple[str, ...]
    minutes: float
    parity: bool = False
    workers: int = 1
    """processes side by side, where pytest-xdist is there; never while time is taken"""
    under: tuple[str, ...] = ()
    """a program that runs the tests and watches them; where it is not installed, the stage is left out"""
    tunes: bool = False
    """a run of the tuner, whose table the benchmarks after it use"""
    module: str | None = None
    """a program that writes its result itself"""


_TUNER = "kernels/fcnrt_kernels/tune.py"


def _problem(layer: Layer, batch: int) -> str:
    """A layer as the tuner's command line takes it."""
    pool = "+pool" if layer.pool else ""
    return f"{batch}x{layer.side}x{layer.side}x{layer.channels}x{layer.out_channels}x{layer.kernel}{pool}"


STAGES = (
    Stage("parity_ops", ("tests/device/test_ops.py",), 5, parity=True, workers=8),
    Stage("parity_conv", ("tests/device/test_conv.py",), 6, parity=True, workers=8),
    *(
        Stage(
            f"conv_{tool}",
            ("tests/device/test_conv.py", "-k", "small_for_the_sanitizer"),
            6,
            parity=True,
            under=("compute-sanitizer", f"--tool={tool}", "--error-exitcode=1", "--target-processes=all"),
        )
        for tool in ("memcheck", "racecheck")
    ),
    Stage("parity_network", ("tests/device/test_network.py",), 5, parity=True, workers=4),
    Stage("soak_network", ("tests/device/test_soak.py",), 5, parity=True, workers=8),
    Stage("ceilings", (), 1, module="benchmarks.ceilings"),
    Stage("kernel", ("benchmarks/test_kernel.py", "--benchmark-only"), 4),
    *(
        Stage(
            f"tune_conv_batch{batch}",
            (_TUNER, "--most=8", *(_problem(layer, batch) for layer in LAYERS)),
            7,
            tunes=True,
        )
        for batch in (1, 16)
    ),
    Stage("conv", ("benchmarks/test_conv.py", "--benchmark-only", "--benchmark-max-time=0.2"), 7),
    Stage("decoder", ("benchmarks/test_decoder.py", "--benchmark-only"), 4),
    Stage("network", ("benchmarks/test_network.py", "--benchmark-only"), 6),
    Stage("ablation", ("benchmarks/test_ablation.py", "--benchmark-only"), 3),
    # torch.compile searches for minutes, so it competes in one group only, in a run that has all of its group.
    Stage(
        "network-compiled",
        ("benchmarks/test_network.py", "--benchmark-only", "--compile", "-k", "full_width and 500x500 and labels"),
        7.5,
    ),
)

# The settings of pyproject.toml belong to the versions that CI tests; a GPU machine has those that came with it.
_PYTEST_OPTIONS = (
    *("-o", "minversion=7.0", "-o", "addopts=--import-mode=importlib", "-o", "filterwarnings="),
    *("-p", "no:cacheprovider", "-v", "--tb=short"),  # a run that is cut short has said what failed
)
_GRACE_SECONDS = 20


def run_stage(stage: Stage, folder: Path, machine: str) -> bool:
    """Run one stage and leave its result; whether all of it passed."""
    if stage.module is not None:
        return _run([sys.executable, "-m", stage.module, f"--out={folder}"], stage.minutes * 60) == 0
    if stage.tunes:
        return _tune(stage, folder / machine)
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        command = [*_PYTEST_OPTIONS, *stage.arguments]
        if stage.parity:
            command += [f"--junit-xml={report}"]
            if stage.workers > 1 and importlib.util.find_spec("xdist"):
                command += [f"--numprocesses={stage.workers}"]
        else:
            command += [f"--fcnrt-results={folder}"]
        passed = (
            _run([*stage.under, sys.executable, "-m", "pytest", *command], stage.minutes * 60, folder / machine) == 0
        )
        if not stage.parity or not report.exists():
            return passed
        summary = parity_summary(report.read_text(encoding="utf-8"))
        passed = passed and summary["passed"] > 0  # skipping all of them proves nothing
        result = {
            "schema_version": SCHEMA_VERSION,
            "suite": stage.name,
            "commit": commit(),
            "environment": environment(),
            **summary,
        }
        write_json(folder / machine / f"{stage.name}{'' if passed else '-incomplete'}.json", result)
        return passed


def _tune(stage: Stage, folder: Path) -> bool:
    """Add to the table of measured tiles, which lies in ``configs`` beside the results and is kept if cut short."""
    table = folder / "configs" / f"{folder.name}.json"
    command = [sys.executable, "-m", "fcnrt_kernels.tune", f"--out={table}", *stage.arguments[1:]]
    if _run(command, stage.minutes * 60) != 0:
        return False
    result = {"schema_version": SCHEMA_VERSION, "suite": stage.name, "commit": commit(), "environment": environment()}
    write_json(folder / f"{stage.name}.json", {**result, "table": f"configs/{table.name}"})
    return True


def parity_summary(junit_xml: str) -> dict[str, Any]:
    """What a parity stage found: counts, the worst of each recorded figure, every case, and what failed."""
    cases: list[dict[str, str | float]] = []
    failed: list[dict[str, str]] = []
    for case in ElementTree.fromstring(junit_xml).iter("testcase"):
        name = case.get("name", "")
        if case.find("skipped") is not None:
            continue
        problem = case.find("failure") if case.find("failure") is not None else case.find("error")
        if problem is not None:
            failed.append({"test": name, "message": problem.get("message", "").partition("\n")[0]})
        figures = {item.get("name", ""): float(item.get("value", "nan")) for item in case.iter("property")}
        cases.append({"test": name, **figures})
    worst: dict[str, float] = {}
    for entry in cases:
        for key, value in entry.items():
            if isinstance(value, float):
                pick = min if key == "label_agreement" else max
                worst[key] = pick(worst.get(key, value), value)
    return {"passed": len(cases) - len(failed), "failed": failed, "worst": worst, "tests": cases}


def _run(command: Sequence[str], seconds: float, cache: Path | None = None) -> int:
    """The exit status of a program, which is ended with all that it started when its time is up.

    ``cache`` is where it finds the table of measured tiles.
    """
    print("+", *command[1:], flush=True)
    paths = [str(ROOT), str(ROOT / "kernels"), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            **({} if cache is None else {"FCNRT_CACHE_DIR": str(cache)}),
        },
        start_new_session=True,
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        print(f"not finished after {seconds:.0f} s", file=sys.stderr)
        process.send_signal(signal.SIGINT)  # pytest then keeps what it has
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
        return 124
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 where a stage failed, 2 where there is no GPU."""
    names = [stage.name for stage in STAGES]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(names)}; all if none is named")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="default: benchmarks/results")
    parser.add_argument("--minutes", type=float, metavar="M", help="for each stage; default: what it is known to take")
    parser.add_argument("--commit", metavar="ID", help="the commit under test, where the tree has no git history")
    options = parser.parse_args(arguments)
    unknown = set(options.stages) - set(names)
    if unknown:
        parser.error(f"unknown stage {', '.join(sorted(unknown))}; expected {', '.join(names)}")
    if not torch.cuda.is_available():
        print(
            f"torch {torch.__version__} finds no CUDA device here, and these stages are for one. "
            "To measure this machine's CPU: pytest benchmarks/ --benchmark-only",
            file=sys.stderr,
        )
        return 2
    if options.commit:
        os.environ[COMMIT_VARIABLE] = options.commit
    machine, folder = environment()["machine"], options.out.resolve()
    failed = []
    for stage in STAGES:
        if options.stages and stage.name not in options.stages:
            continue
        if (folder / machine / f"{stage.name}.json").exists():
            print(f"{stage.name}: has a result already", flush=True)
            continue
        if stage.under and shutil.which(stage.under[0]) is None:
            print(f"{stage.name}: left out, {stage.under[0]} is not installed", flush=True)
            continue
        if options.minutes is not None:
            stage = dataclasses.replace(stage, minutes=options.minutes)
        start = time.monotonic()
        passed = run_stage(stage, folder, machine)
        failed += [] if passed else [stage.name]
        print(f"{stage.name}: {'done' if passed else 'FAILED'} in {time.monotonic() - start:.0f} s", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}; the same command runs them again", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
