"""Draws the committed results: cost against pixels, and what each technique is worth.

    python -m benchmarks.plots                       # of each machine in benchmarks/results, into docs/images
    python -m benchmarks.plots --results DIR --out DIR

Needs matplotlib, which the ``bench`` extra brings. Times are shown as ratios alone: on a CPU an absolute one says more
about the machine than about the code.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.environment import ROOT
from benchmarks.results import RESULTS

IMAGES = ROOT / "docs" / "images"

INK, PALE, GRID = "#1f2933", "#7b8794", "#e4e7eb"
MINUS = "\N{MINUS SIGN}"
EAGER, DENSE, OURS = "#9aa5b1", "#f0a04b", "#1f77b4"

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": PALE,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": "white",
    "savefig.dpi": 160,
}

LINES = {"eager float32": EAGER, "fcnrt float32 without halo": DENSE, "fcnrt float32": OURS}
"""What is swept, and its colour; results may lack some."""

STEPS = {
    "eager float32": "eager, as written",
    "eager float32 channels-last": "eager, channels last",
    "fcnrt float32 without matrix product, Winograd, halo, fused decoder": "planned: strips, shared buffers",
    "fcnrt float32 without Winograd, halo, fused decoder": "+ fc6, fc7 as matrix products",
    "fcnrt float32 without halo, fused decoder": "+ Winograd convolutions",
    "fcnrt float32 without fused decoder": "+ constant halo",
    "fcnrt float32": "+ fused decoder",
    "fcnrt bfloat16": "+ bfloat16",
    "eager float16 channels-last": "eager float16, channels last",
    "eager float16 channels-last CUDA graph": "+ CUDA graph",
    "fcnrt float16 without own convolutions, halo, one-launch decoder": "fused decoder, cuDNN's convolutions",
    "fcnrt float16 without halo, one-launch decoder": "+ own convolutions",
    "fcnrt float16 without one-launch decoder": "+ constant halo",
    "fcnrt float16": "+ decoder in one launch",
}
"""The contenders of the ablations in order, on a CPU and on a GPU, and what each adds to the one before."""


_OURS = {label for contender, label in STEPS.items() if contender.startswith("fcnrt")}


@dataclass(frozen=True)
class Point:
    """One measurement of the sweep."""

    side: int
    batch: int
    seconds: float


def draw_waterfall(result: dict[str, Any], path: Path) -> None:
    """What each technique takes off the time, as bars that begin where the one before ended."""
    import matplotlib.pyplot as plt  # type: ignore[import-not-found,unused-ignore]  # optional

    seconds = {row["contender"]: row["median_seconds"] for row in result["benchmarks"]}
    steps = [(label, seconds[contender]) for contender, label in STEPS.items() if contender in seconds]
    first = steps[0][1]
    shares = [taken / first for _, taken in steps]
    figure, axes = plt.subplots(figsize=(8.4, 0.52 * len(steps) + 1.5), layout="constrained")
    for place, ((_, taken), share) in enumerate(zip(steps, shares, strict=True)):
        before = shares[place - 1] if place else 0.0
        axes.barh(place, share, height=0.62, color=OURS if steps[place][0] in _OURS else EAGER)
        note = f"{first / taken:.2f}x" if place else "1x"
        end = max(share, before)
        if place and before > share:
            axes.barh(place, before - share, left=share, height=0.62, color=GRID)
        if place:
            note += f"   ({MINUS if share <= before else '+'}{abs(1 - share / before):.0%})"
        axes.text(end + 0.012, place, note, va="center", weight="bold" if place == len(steps) - 1 else "normal")
    axes.set_yticks(range(len(steps)), [label for label, _ in steps])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlim(0, max(shares) * 1.17)
    axes.set_xticks([share / 5 for share in range(6)])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("time, of the eager float32 net's; in brackets against the line above")
    axes.set_title(result["benchmarks"][0]["group"].partition(":")[0])
    _sign(figure, result)
    _save(figure, path)


def draw_sweep(result: dict[str, Any], path: Path) -> None:
    """Cost against pixels, and the ratio to eager against pixels; batches beside single images."""
    import matplotlib.pyplot as plt  # type: ignore[import-not-found,unused-ignore]  # optional

    points = sweep_points(result)
    reference = {(point.side, point.batch): point.seconds for point in points["eager float32"]}
    unit = reference[min(reference)]
    figure, (cost, gain) = plt.subplots(1, 2, figsize=(10.4, 4.4), layout="constrained")
    for contender, color in LINES.items():
        if contender not in points:
            continue
        alone = [point for point in points[contender] if point.batch == 1]
        batches = [point for point in points[contender] if point.batch > 1]
        width = 2.4 if color == OURS else 1.8
        style: dict[str, Any] = {"color": color, "linewidth": width, "marker": "o", "markersize": 4.5}
        cost.plot([p.side**2 for p in alone], [p.seconds / unit for p in alone], label=contender, **style)
        if contender == "eager float32":
            gain.axhline(1, color=color, linewidth=width)
        else:
            gain.plot([p.side**2 for p in alone], [reference[p.side, 1] / p.seconds for p in alone], **style)
        ratios = [reference[p.side, p.batch] / p.seconds for p in batches]
        hollow: dict[str, Any] = {"linestyle": "none", "marker": "D", "markersize": 5, "markerfacecolor": "white"}
        hollow |= {"markeredgecolor": color, "markeredgewidth": 1.4}
        pixels = [p.side**2 * p.batch for p in batches]
        cost.plot(pixels, [p.seconds / unit for p in batches], **hollow)
        if contender != "eager float32":
            gain.plot(pixels, ratios, **hollow)
    sides = sorted({point.side for point in points["eager float32"]})
    for axes in (cost, gain):
        axes.set_xscale("log")
        axes.set_xticks([side**2 for side in sides], [f"{side}²" for side in sides])
        axes.minorticks_off()
        axes.set_xlabel("pixels of all images in a call")
    cost.set_yscale("log")
    cost.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    cost.set_ylabel(f"time, in units of eager at {sides[0]}x{sides[0]}")
    cost.set_title("Cost against pixels")
    cost.plot(
        [], [], linestyle="none", marker="D", markerfacecolor="white", markeredgecolor=PALE, label="batches of 256²"
    )
    cost.legend(frameon=False, loc="upper left")
    gain.set_ylim(bottom=0)
    gain.yaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    gain.set_title("Times as fast as eager")
    _sign(figure, result, result["benchmarks"][0]["group"].rpartition(f", {sides[0]}x")[0])
    _save(figure, path)


def sweep_points(result: dict[str, Any]) -> dict[str, list[Point]]:
    """The measurements of a sweep by contender, in order of pixels."""
    points: dict[str, list[Point]] = {}
    for row in result["benchmarks"]:
        facts = row["extra_info"]
        points.setdefault(row["contender"], []).append(Point(facts["height"], facts["batch"], row["median_seconds"]))
    return {
        contender: sorted(found, key=lambda point: (point.batch > 1, point.side**2 * point.batch))
        for contender, found in points.items()
    }


DRAWN: dict[str, Callable[[dict[str, Any], Path], None]] = {"sweep": draw_sweep, "ablation": draw_waterfall}
"""Suites that have a plot."""


def _sign(figure: Any, result: dict[str, Any], what: str = "") -> None:
    """Where it was measured, small, below."""
    environment = result["environment"]
    cpu, software = environment["cpu"], environment["software"]
    machine = f"{cpu['model']}, {cpu['cores']} cores, {cpu['capability']}, {environment['threads']} threads"
    parts = [what, environment["gpu"]["name"] if environment["gpu"] else machine, f"torch {software['torch']}"]
    figure.supxlabel("  ·  ".join(filter(None, parts)), fontsize=8, color=PALE, x=0.99, ha="right")


def _save(figure: Any, path: Path) -> None:
    """Whole or not at all, and the same bytes for the same results."""
    import matplotlib.pyplot as plt  # type: ignore[import-not-found,unused-ignore]  # optional

    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            figure.savefig(file, format="png", metadata={"Software": None})
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    finally:
        plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 2 where there is nothing to draw, or nothing to draw with."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plots", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR", help="default: benchmarks/results")
    parser.add_argument("--out", type=Path, default=IMAGES, metavar="DIR", help="default: docs/images")
    options = parser.parse_args(arguments)
    try:
        import matplotlib  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        print("matplotlib is not installed, and draws the plots: pip install 'fcnrt[bench]'", file=sys.stderr)
        return 2
    matplotlib.use("agg")
    found = [path for suite in DRAWN for path in sorted(options.results.glob(f"*/{suite}.json"))]
    if not found:
        print(
            f"no {' or '.join(f'{suite}.json' for suite in DRAWN)} in {options.results}: make them with "
            "pytest benchmarks/ --benchmark-only --fcnrt-results",
            file=sys.stderr,
        )
        return 2
    for path in found:
        target = options.out / f"{path.stem}-{path.parent.name}.png"
        with matplotlib.rc_context(STYLE):
            DRAWN[path.stem](json.loads(path.read_text(encoding="utf-8")), target)
        print(f"drew {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
