"""The demo: a slim FCN-8s and the procedural scenes that it was trained on."""

from __future__ import annotations

from pathlib import Path

CHECKPOINT_NAME = "fcn8s-demo.safetensors"
REPORT_NAME = "report.json"
DATA = Path(__file__).resolve().parent / "data"


def demo_checkpoint() -> Path:
    """The trained demo net that ships with the package: FCN-8s, 11 classes, an eighth of VGG16's width."""
    return DATA / CHECKPOINT_NAME


def sample_images() -> list[Path]:
    """The held-out scenes that ship with the package, sorted by name."""
    return sorted((DATA / "scenes").glob("*.jpg"))


def true_labels(sample: Path) -> Path:
    """The true label map, an indexed PNG, of one of ``sample_images()``."""
    return DATA / "truth" / f"{sample.stem}.png"
