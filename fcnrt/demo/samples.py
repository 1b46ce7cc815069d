"""The sample scenes that ship with the package, and how they were made: ``python -m fcnrt.demo.samples FOLDER``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from fcnrt.demo.scenes import CLASSES, scene
from fcnrt.palettes import voc_palette


@dataclass(frozen=True)
class Sample:
    """A held-out scene: no training scene and none of the evaluation has its seed."""

    seed: int
    height: int
    width: int

    @property
    def name(self) -> str:
        return f"scene-{self.seed}"


SAMPLES: tuple[Sample, ...] = (
    Sample(904, 375, 500),
    Sample(911, 375, 500),
    Sample(932, 480, 360),
    Sample(952, 240, 320),
    Sample(959, 240, 320),
)


def write_samples(folder: Path) -> None:
    """``scenes/NAME.jpg`` and its true labels ``truth/NAME.png`` (indexed, VOC palette) for every sample."""
    palette = [channel for colour in voc_palette(len(CLASSES)) for channel in colour]
    for kind in ("scenes", "truth"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for sample in SAMPLES:
        pixels, labels = scene(sample.seed, sample.height, sample.width)
        Image.fromarray(pixels).save(folder / "scenes" / f"{sample.name}.jpg", quality=92, subsampling=0)
        indexed = Image.fromarray(labels).convert("L")
        indexed.putpalette(palette)
        indexed.save(folder / "truth" / f"{sample.name}.png", optimize=True)


if __name__ == "__main__":
    write_samples(Path(sys.argv[1]))
