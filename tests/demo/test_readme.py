"""The README's figures of the demo net are those of the committed report."""

from __future__ import annotations

import json
from pathlib import Path

from fcnrt.demo import DATA, REPORT_NAME

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_readme_states_what_the_report_holds() -> None:
    scores = json.loads((DATA / REPORT_NAME).read_text(encoding="utf-8"))["scores"]
    text = README.read_text(encoding="utf-8")
    for figures in scores.values():
        row = f"| {figures['mean_iu']:.3f} | {figures['pixel_accuracy']:.3f} | {figures['steps']} |"
        assert row in text
