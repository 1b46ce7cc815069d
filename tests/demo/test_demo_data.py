from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fcnrt.checkpoints import Checkpoint, read_checkpoint
from fcnrt.demo import DATA, REPORT_NAME, demo_checkpoint, sample_images, true_labels
from fcnrt.demo.evaluate import confusion, to_input
from fcnrt.demo.samples import SAMPLES
from fcnrt.demo.scenes import CLASSES, scene
from fcnrt.metrics import ConfusionMatrix
from fcnrt.models import FCN, create_model


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return read_checkpoint(demo_checkpoint())


@pytest.fixture(scope="module")
def model(checkpoint: Checkpoint) -> FCN:
    spec = checkpoint.spec
    net = create_model(spec.arch, spec.num_classes, width=spec.width)
    net.load_state_dict(checkpoint.state_dict)
    return net.eval()


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DATA / REPORT_NAME).read_text(encoding="utf-8"))
    return loaded


def test_the_checkpoint_is_small_and_says_what_it_is(checkpoint: Checkpoint) -> None:
    assert demo_checkpoint().stat().st_size < 8_000_000
    assert checkpoint.notes == ()
    spec = checkpoint.spec
    assert (spec.arch, spec.classes, spec.width) == ("fcn8s", CLASSES, 0.125)
    assert spec.normalization.name == "caffe-voc"


def test_the_checkpoint_reaches_what_the_report_states(model: FCN, report: dict[str, Any]) -> None:
    held_out = report["held_out"]
    scores = confusion(model, range(*held_out["seeds"]), held_out["height"], held_out["width"]).scores()
    stated = report["scores"]["fcn8s"]
    # The same scenes and weights: another processor may round a few pixels another way.
    assert scores.mean_iu == pytest.approx(stated["mean_iu"], abs=0.005)
    assert scores.pixel_accuracy == pytest.approx(stated["pixel_accuracy"], abs=0.005)


def test_finer_skips_help_and_it_is_not_the_longer_training(report: dict[str, Any]) -> None:
    scores = report["scores"]
    for figure in ("mean_iu", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iu"):
        ladder = [scores[arch][figure] for arch in ("fcn32s", "fcn16s", "fcn8s")]
        assert ladder == sorted(set(ladder)), figure
    assert scores["fcn32s-longer"]["steps"] == sum(scores[arch]["steps"] for arch in ("fcn32s", "fcn16s", "fcn8s"))
    assert scores["fcn32s-longer"]["mean_iu"] < scores["fcn16s"]["mean_iu"]


def test_no_scene_was_both_trained_on_and_held_out(report: dict[str, Any]) -> None:
    trained, evaluated = range(*report["training"]["seeds"]), range(*report["held_out"]["seeds"])
    shown = {sample.seed for sample in SAMPLES}
    assert not shown & set(trained)
    assert not shown & set(evaluated)
    assert not set(evaluated) & set(trained)


def test_the_samples_are_the_scenes_that_they_claim_to_be() -> None:
    paths = sample_images()
    assert [path.stem for path in paths] == [sample.name for sample in SAMPLES]
    for path, sample in zip(paths, SAMPLES, strict=True):
        pixels, labels = scene(sample.seed, sample.height, sample.width)
        with Image.open(path) as image, Image.open(true_labels(path)) as truth:
            assert image.mode == "RGB"
            assert truth.mode == "P"
            # Another Pillow or numpy may round an edge another way; the scene stays the same.
            assert (np.asarray(truth) == labels).mean() > 0.999
            assert np.abs(np.asarray(image, dtype=np.float32) - pixels).mean() < 6


def test_the_demo_net_reads_its_samples_from_the_files(model: FCN) -> None:
    matrix = ConfusionMatrix(len(CLASSES))
    for path in sample_images():
        pixels = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[None]
        with torch.inference_mode():
            labels = model(to_input(pixels)).argmax(1)[0].numpy()
        matrix.update(np.asarray(Image.open(true_labels(path))), labels)
    assert matrix.scores().pixel_accuracy > 0.8


def test_paths_do_not_depend_on_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert demo_checkpoint().is_file()
    assert sample_images()
