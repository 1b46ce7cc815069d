"""The nets that see depth, from images to labels: HHA in a trunk of its own, and depth as a fourth channel."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fcnrt
from fcnrt.cli import main
from fcnrt.images import read_depth
from fcnrt.models import create_model
from fcnrt.segmenter import Segmenter

SIZE = (61, 83)


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Segmenter, Path]]:
    folder = tmp_path_factory.mktemp("nyud")

    def make(arch: str) -> tuple[Segmenter, Path]:
        torch.manual_seed(1)
        net = create_model(arch, 5, width=1 / 16)
        for module in net.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        # Scores of one size for all classes, so that several win.
        mean = net(torch.randn(1, net.in_channels, *SIZE) * 60).mean(dim=(0, 2, 3))
        for score in net.heads["out"].scores:
            net.get_parameter(f"{score.layer}.bias").data -= mean
        torch.save(net.state_dict(), folder / f"{arch}.pt")
        return fcnrt.load(folder / f"{arch}.pt", device="cpu", dtype="float32"), folder / f"{arch}.pt"

    return make


@pytest.fixture
def rgb() -> Any:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture
def hha() -> Any:
    return np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.fixture
def depth() -> Any:
    return np.random.default_rng(2).integers(500, 9000, SIZE, dtype=np.uint16)


def nyud_layers(rgb: Any, hha: Any, depth: Any) -> dict[str, np.ndarray[Any, Any]]:
    """``load_image``, ``load_hha`` and ``load_depth`` of shelhamer/fcn.berkeleyvision.org ``nyud_layers.py``."""
    in_ = np.array(rgb, dtype=np.float32)[:, :, ::-1] - np.array((116.190, 97.203, 92.318), dtype=np.float32)
    h = np.array(hha, dtype=np.float32) - np.array((132.431, 94.076, 118.477), dtype=np.float32)
    d = np.log(np.array(depth, dtype=np.float32)) - np.array((7.844,), dtype=np.float32)
    color = in_.transpose((2, 0, 1))
    return {
        "nyud-fcn32s-color-hha": np.concatenate((color, h.transpose((2, 0, 1)))),
        "nyud-fcn32s-color-d": np.concatenate((color, d[np.newaxis, ...])),
    }


def test_labels_are_those_of_the_solvers_input(load: Any, rgb: Any, hha: Any, depth: Any, tmp_path: Path) -> None:
    for image, name in ((rgb, "rgb.png"), (hha, "hha.png"), (depth, "depth.png")):
        Image.fromarray(image).save(tmp_path / name)
    sources: dict[str, tuple[Any, ...]] = {
        "hha": (hha, tmp_path / "hha.png", Image.fromarray(hha), torch.from_numpy(hha).permute(2, 0, 1)),
        "depth": (
            depth,
            tmp_path / "depth.png",
            (tmp_path / "depth.png").read_bytes(),
            io.BytesIO((tmp_path / "depth.png").read_bytes()),
            depth.astype(np.float64)[..., None],
            torch.from_numpy(depth.astype(np.int32))[None],
        ),
    }
    for arch, x in nyud_layers(rgb, hha, depth).items():
        model, _ = load(arch)
        logits = model.reference(torch.from_numpy(x)[None])
        expected = logits.argmax(dim=1)[0].numpy()
        assert len(np.unique(expected)) > 1
        kind = "hha" if arch.endswith("hha") else "depth"
        for source in sources[kind]:
            result = model.segment(tmp_path / "rgb.png", **{kind: source})
            assert (result.labels == expected).all()
            assert (result.image == rgb).all()
        first, second = model.segment([rgb, rgb[::-1].copy()], **{kind: [sources[kind][0], sources[kind][0][::-1]]})
        assert (first.labels == expected).all()
        assert second.labels.shape == SIZE
        small = model.segment(rgb, resize=20, **{kind: sources[kind][0]})
        assert small.labels.shape == SIZE


def test_resize_takes_what_is_beside_along(load: Any, rgb: Any, depth: Any) -> None:
    model, _ = load("nyud-fcn32s-color-d")
    size = (27, 20)
    small = np.array(Image.fromarray(rgb).resize(size, Image.Resampling.BILINEAR))
    map_ = np.array(Image.fromarray(depth.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    x = torch.from_numpy(nyud_layers(small, small, map_)["nyud-fcn32s-color-d"])[None]
    logits = torch.nn.functional.interpolate(model(x), SIZE, mode="bilinear", align_corners=False)
    assert (model.segment(rgb, depth=depth, resize=20).labels == logits.argmax(dim=1)[0].numpy()).all()


def test_what_is_missing_or_does_not_fit(load: Any, rgb: Any, hha: Any, depth: Any) -> None:
    early, path = load("nyud-fcn32s-color-d")
    late, _ = load("nyud-fcn32s-color-hha")
    calls: tuple[tuple[Callable[[], Any], str], ...] = (
        (lambda: late.segment(rgb), "color-hha takes HHA beside colour, as hha=; found none"),
        (lambda: late.segment(rgb, depth=depth), "color-hha takes HHA beside colour, as hha=; found depth="),
        (lambda: late.segment(rgb, hha=hha, depth=depth), "found hha= and depth="),
        (lambda: early.segment(rgb), "color-d takes depth beside colour, as depth=; found none"),
        (lambda: early.segment([rgb, rgb], depth=depth), "beside them one ndarray; expected as many as images"),
        (lambda: early.segment([rgb, rgb], depth=[depth]), "2 images, and 1 beside them"),
    )
    for call, message in calls:
        with pytest.raises(fcnrt.InputError, match=message):
            call()
    with pytest.raises(fcnrt.ImageError, match="image: is 83x61, and its depth 83x60; expected the same size"):
        early.segment(rgb, depth=depth[1:])
    colour = fcnrt.load(path, device="cpu", normalization="nyud")
    with pytest.raises(fcnrt.InputError, match="color-d takes 4 channels, and normalization 'nyud' makes 3"):
        colour.segment(rgb, depth=depth)
    plain = create_model("fcn32s", 5, width=1 / 16)
    torch.save(plain.state_dict(), path.with_name("fcn32s.pt"))
    with pytest.raises(fcnrt.InputError, match="fcn32s takes colour alone; found hha="):
        fcnrt.load(path.with_name("fcn32s.pt"), device="cpu").segment(rgb, hha=hha)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.array([[1.0, np.nan], [0.0, -1.0]]), "depth array: 3 of 4 pixels have no depth; .* more than 0 everywhere"),
        (torch.zeros(1, 1, 2, 2), r"depth tensor: is float32 \[1, 1, 2, 2\]; expected depth in millimetres"),
        (np.ones((0, 3)), r"depth array: is float64 \[0, 3\]"),
        (np.ones((2, 2), dtype=bool), r"depth array: is bool \[2, 2\]"),
        (Image.new("L", (2, 2), 7), "PIL image: is of mode L, 8 bits a sample; expected .* 16-bit grey"),
        (7, "found int; expected a path, .* or a tensor"),
    ],
)
def test_depth_with_holes_or_of_another_kind(source: Any, message: str) -> None:
    with pytest.raises(fcnrt.ImageError, match=message):
        read_depth(source)


def test_depth_in_files_of_more_bits(tmp_path: Path, depth: Any) -> None:
    Image.fromarray(depth.astype(np.float32) / 3).save(tmp_path / "depth.tiff")
    assert (read_depth(tmp_path / "depth.tiff") == depth.astype(np.float32) / 3).all()
    assert read_depth(Image.fromarray(depth.astype(np.int32))).dtype == np.float32


def test_command_line(load: Any, rgb: Any, hha: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, path = load("nyud-fcn32s-color-hha")
    for folder, image in (("rgb", rgb), ("hha", hha)):
        (tmp_path / folder).mkdir()
        for index in (1, 2):
            Image.fromarray(np.roll(image, index)).save(tmp_path / folder / f"{index}.png")
    out = tmp_path / "out"
    options = ["--model", str(path), "--out", str(out), "--device", "cpu", "--dtype", "float32"]
    assert main(["segment", str(tmp_path / "rgb"), "--hha", str(tmp_path / "hha"), *options]) == 0
    for index in (1, 2):
        with Image.open(out / f"{index}.png") as file:
            assert (np.array(file) == model.segment(np.roll(rgb, index), hha=np.roll(hha, index)).labels).all()
    one = str(tmp_path / "hha" / "1.png")
    assert main(["segment", str(tmp_path / "rgb" / "1.png"), "--hha", one, *options]) == 0
    assert main(["segment", str(tmp_path / "rgb"), "--hha", one, *options]) == 2
    assert "--hha names 1 files for 2 images; expected one for each image" in capsys.readouterr().err
    assert main(["segment", str(tmp_path / "rgb"), *options]) == 3
    assert "takes HHA beside colour, as hha=; found none" in capsys.readouterr().err
    options[3] = str(tmp_path / "hha")
    assert main(["segment", str(tmp_path / "rgb"), "--hha", str(tmp_path / "hha"), *options]) == 2
    assert "would overwrite an image" in capsys.readouterr().err
