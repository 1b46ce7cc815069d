"""A Segmenter as its users meet it: every kind of image, the eager yardstick, and what it refuses."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import fcnrt
from fcnrt.models import create_model
from fcnrt.segmenter import Segmenter

CLASSES = 5


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    net = create_model("fcn8s", CLASSES, width=1 / 16)
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    path = tmp_path_factory.mktemp("checkpoint") / "fcn8s.pt"
    torch.save(net.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Segmenter:
    return fcnrt.load(checkpoint, device="cpu", dtype=torch.float32)


@pytest.fixture
def photo() -> Any:
    return np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)


def test_every_way_to_hand_over_an_image_gives_the_same_labels(model: Segmenter, photo: Any, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    tensor = torch.from_numpy(photo).permute(2, 0, 1)
    expected = model.segment(photo).labels
    assert (expected.shape, expected.dtype) == ((37, 53), np.uint8)
    assert len(np.unique(expected)) > 1
    for source in (str(path), path, path.read_bytes(), io.BytesIO(path.read_bytes()), Image.fromarray(photo), tensor):
        result = model.segment(source)
        assert (result.labels == expected).all()
        assert result.path == (str(path) if isinstance(source, (str, Path)) else None)
    for several in ([photo, str(path)], (image for image in (photo, photo)), torch.stack([tensor, tensor])):
        results = model.segment(several)
        assert isinstance(results, list)
        assert [(result.labels == expected).all() for result in results] == [True, True]
    assert model.segment([]) == []
    assert set(result.speed) == {"preprocess", "inference", "postprocess"}


def test_labels_are_those_of_the_eager_net(model: Segmenter, photo: Any) -> None:
    bgr = photo[..., ::-1].astype(np.float32) - np.array([104.00698793, 116.66876762, 122.67891434], dtype=np.float32)
    x = torch.from_numpy(bgr.transpose(2, 0, 1).copy())[None]
    logits = model.reference(x)
    assert isinstance(logits, torch.Tensor)
    result = model.segment(photo, confidence=True)
    assert (result.labels == logits.argmax(dim=1)[0].numpy()).all()
    assert result.confidence is not None
    assert result.confidence.dtype == np.float16
    assert np.abs(result.confidence - logits.softmax(dim=1).amax(dim=1)[0].numpy()).max() < 2e-3
    assert (model(x) - logits).abs().max() <= 1e-5 * logits.abs().max()
    assert model.segment(photo).confidence is None


def test_resize_scores_small_and_labels_at_the_images_own_size(model: Segmenter, photo: Any) -> None:
    result = model.segment(photo, resize=20, confidence=True)
    assert result.labels.shape == (37, 53)
    small = np.array(Image.fromarray(photo).resize((28, 20), Image.Resampling.BILINEAR))
    x = fcnrt.preprocessing.normalize(torch.from_numpy(small).permute(2, 0, 1)[None], "caffe-voc")
    logits = F.interpolate(model(x), (37, 53), mode="bilinear", align_corners=False)
    assert (result.labels == logits.argmax(dim=1)[0].numpy()).all()
    assert (model.segment(photo, resize=37).labels == model.segment(photo).labels).all()


def test_a_large_resize_is_refused_before_memory_is_taken(model: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thin image of a few kilobytes, at torchvision's 520, has gigabytes of pixels; so has any, at a wrong size."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the image was resized before its size was looked at")

    monkeypatch.setattr(Image.Image, "resize", refuse)
    monkeypatch.setattr("fcnrt.pipeline.available_memory", lambda device: 1 << 30)
    thin = np.zeros((1, 50_000, 3), dtype=np.uint8)
    with pytest.raises(fcnrt.ImageError, match="26000000x520 pixels need"):
        model.segment(thin, resize=520)
    with pytest.raises(fcnrt.ImageError, match="1000000x1000000 pixels need"):
        model.segment(thin[:, :1], resize=1_000_000)


def test_a_batch_gives_what_its_images_give(model: Segmenter) -> None:
    """Up to the last bits: oneDNN sums a batch of convolutions in another order than a single one."""
    x = torch.randn(3, 3, 30, 41) * 50
    logits, labels = model(x), model.predict_labels(x)
    for index in range(3):
        alone = model(x[index : index + 1])[0]
        assert (logits[index] - alone).abs().max() <= 1e-5 * alone.abs().max()
        assert torch.equal(labels[index], logits[index].argmax(dim=0).to(torch.uint8))


def test_more_than_255_classes(tmp_path: Path, photo: Any) -> None:
    net = create_model("fcn8s", 256, width=1 / 64)
    net.get_parameter("score_fr.bias").data[255] = 1
    torch.save(net.state_dict(), tmp_path / "fcn8s.pt")
    many = fcnrt.load(tmp_path / "fcn8s.pt", device="cpu", dtype=torch.float32)
    for result in (many.segment(photo), many.segment(photo, resize=20)):
        assert result.labels.dtype == np.int32
        assert (result.labels == 255).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (31, 33)], ids="{0[0]}x{0[1]}".format)
def test_any_size(model: Segmenter, size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size) * 50
    assert model.predict_labels(x).shape == (2, *size)
    labels, confidence = model.predict_labels(x, confidence=True)
    assert (labels.dtype, confidence.dtype) == (torch.uint8, torch.float16)
    assert model.predict_labels(x[:0]).shape == (0, *size)
    assert model(x.double()).dtype == torch.float32


def test_eager_engine_agrees(checkpoint: Path, model: Segmenter) -> None:
    eager = fcnrt.load(checkpoint, device="cpu", dtype="float32", engine="eager")
    x = torch.randn(2, 3, 40, 30) * 50
    assert (eager(x) - model(x)).abs().max() <= 1e-5 * model(x).abs().max()
    labels, confidence = eager.predict_labels(x, confidence=True)
    assert torch.equal(labels, model.predict_labels(x))
    assert confidence.dtype == torch.float16


def test_refusals(model: Segmenter, checkpoint: Path, photo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (torch.zeros(3, 8, 8), torch.zeros(1, 4, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8), photo):
        with pytest.raises(fcnrt.InputError, match=r"expected a floating \[N,3,H,W\], normalised as caffe-voc"):
            model(wrong)
    with pytest.raises(fcnrt.InputError, match="at least one row and one column"):
        model(torch.zeros(1, 3, 0, 8))
    for resize in (0, -3, 2.5, True):
        with pytest.raises(fcnrt.InputError, match="expected the shorter side in pixels"):
            model.segment(photo, resize=resize)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(fcnrt.InputError, match=r"load it again with fcnrt.load\(path, device=..., dtype=...\)"):
        model.half()
    with pytest.raises(fcnrt.InputError, match="runs in eval mode only"):
        model.train()
    assert model.to("cpu").float().eval() is model
    monkeypatch.setattr("fcnrt.pipeline.available_memory", lambda device: 1000)
    with pytest.raises(fcnrt.ImageError, match=r"image: 53x37 pixels need .* GiB for activations on cpu"):
        model.segment(photo)


def test_reference_is_no_submodule_and_is_built_once(checkpoint: Path) -> None:
    model = fcnrt.load(checkpoint, device="cpu", dtype="float32")
    before = [name for name, _ in model.named_modules()]
    assert model.reference is model.reference
    assert [name for name, _ in model.named_modules()] == before
    stored = torch.load(checkpoint, weights_only=True)
    assert all(torch.equal(value, stored[key]) for key, value in model.reference.state_dict().items())


def test_threads_share_a_model(model: Segmenter) -> None:
    inputs = [torch.randn(1, 3, 20 + index, 30) * 50 for index in range(8)]
    expected = [model.predict_labels(x) for x in inputs]
    found: dict[int, bool] = {}

    def work(index: int) -> None:
        found[index] = all(torch.equal(model.predict_labels(inputs[index]), expected[index]) for _ in range(3))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(8), True)


def test_a_loaded_model_compiles_and_exports(model: Segmenter) -> None:
    x = torch.randn(1, 3, 33, 47) * 50
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    expected = model(x)
    bound = 1e-5 * float(expected.abs().max())
    assert (compiled(x) - expected).abs().max() <= bound
    labels = torch.compile(model.predict_labels, fullgraph=True, backend="aot_eager")
    assert (labels(x) != model.predict_labels(x)).float().mean() < 1e-3
    assert (torch.export.export(model, (x,)).module()(x) - expected).abs().max() <= bound


def test_the_first_image_waits_for_no_compiler() -> None:
    code = (
        "import sys, fcnrt, numpy; from fcnrt.demo import demo_checkpoint; "
        "fcnrt.load(demo_checkpoint()).segment(numpy.zeros((20, 30, 3), numpy.uint8)); "
        "print([name for name in ('torch._dynamo', 'sympy', 'triton') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert run.stdout.strip() == "[]"


def test_weights_are_not_replaced_by_halves(model: Segmenter) -> None:
    with pytest.raises(fcnrt.InputError, match="weights are packed when it is made"):
        model.load_state_dict(model.state_dict())
