from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fcnrt.checkpoints import read_checkpoint
from fcnrt.demo import CHECKPOINT_NAME, REPORT_NAME
from fcnrt.demo.batchnorm import fold_batchnorm, insert_batchnorm
from fcnrt.demo.pool import PortraitPool, ScenePool
from fcnrt.demo.pretraining import Classifier, DeeplySupervised, trunk_maps, without_border
from fcnrt.demo.progress import Progress
from fcnrt.demo.replicas import Replica, run_replicas
from fcnrt.demo.scenes import CLASSES
from fcnrt.demo.train import main
from fcnrt.errors import InputError
from fcnrt.models import FCN8s, FCN32s


def test_a_quick_run_writes_both_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--out", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT_NAME, REPORT_NAME]
    checkpoint = read_checkpoint(tmp_path / CHECKPOINT_NAME)
    assert checkpoint.spec.arch == "fcn8s"
    assert checkpoint.spec.classes == CLASSES
    assert checkpoint.spec.normalization.name == "caffe-voc"
    report = json.loads((tmp_path / REPORT_NAME).read_text())
    assert list(report["scores"]) == ["fcn32s", "fcn16s", "fcn8s", "fcn32s-longer"]
    assert report["scores"]["fcn8s"]["steps"] == 1
    written = capsys.readouterr()
    assert written.out == ""
    assert "fcn8s: held-out mean IU" in written.err


def test_folding_changes_the_layers_and_not_the_function() -> None:
    torch.manual_seed(0)
    model = FCN8s(3, width=0.03125)
    names = set(model.state_dict())
    insert_batchnorm(model)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    x = torch.randn(2, 3, 20, 30)
    model.train()
    for _ in range(3):
        model(x)  # moves the running statistics off their start
    model.eval()
    expected = model(x)
    fold_batchnorm(model)
    assert set(model.state_dict()) == names
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)


def test_pretraining_drops_the_border_only_for_itself() -> None:
    torch.manual_seed(0)
    net = FCN32s(3, width=0.03125).eval()
    x = torch.randn(1, 3, 64, 96)
    before = net.features(x)["fc7"]
    supervised = DeeplySupervised(net).eval()
    assert [tuple(logits.shape) for logits in supervised(x)] == [(1, 3, 16, 24)] * 3
    assert Classifier(net)(x).shape == (1, 3)
    assert {name: tuple(one.shape[-2:]) for name, one in trunk_maps(net, x, "fc7").items()} == {
        "pool1": (32, 48),
        "pool2": (16, 24),
        "pool3": (8, 12),
        "pool4": (4, 6),
        "pool5": (2, 3),
        "fc7": (2, 3),
    }
    with pytest.raises(InputError, match="no layer 'fc9'"):
        trunk_maps(net, x, "fc9")
    with pytest.raises(RuntimeError, match="inside"), without_border(net):
        raise RuntimeError("inside")
    torch.testing.assert_close(net.features(x)["fc7"], before)
    finished = supervised.finish()
    assert finished is net
    torch.testing.assert_close(net.get_submodule("score_fr").weight, supervised.scores["fc7"].weight)


def _meet(replica: Replica, start: float) -> tuple[list[float], list[float]]:
    first, second = torch.full((2,), start + replica.rank), torch.full((1, 3), 10.0 * replica.rank)
    replica.average([first, second])
    return first.tolist() + second[0].tolist(), replica.total(torch.tensor([1.0])).tolist()


def test_replicas_average_and_add() -> None:
    assert run_replicas(2, _meet, 1.0) == ([1.5, 1.5, 5.0, 5.0, 5.0], [2.0])
    assert run_replicas(1, _meet, 1.0) == ([1.0, 1.0, 0.0, 0.0, 0.0], [1.0])


def test_batches_keep_images_and_labels_together() -> None:
    pool = ScenePool(range(2), 32)
    pool.images[:] = np.where(pool.labels[..., None] > 0, 255, 0)
    images, labels = pool.batch(np.random.default_rng(0), 6, 24)
    assert images.shape == (6, 3, 24, 24)
    assert labels.shape == (6, 24, 24)
    assert labels.dtype == torch.int64
    assert ((images[:, 0] > 0) == (labels > 0)).all()


def test_portraits_come_with_their_classes() -> None:
    pool = PortraitPool(range(4), 16)
    pool.images[:] = np.where(pool.classes == pool.classes[0], 255, 0)[:, None, None, None]
    images, classes = pool.batch(np.random.default_rng(0), 5)
    assert images.shape == (5, 3, 16, 16)
    assert classes.dtype == torch.int64
    assert ((images[:, 0, 0, 0] > 0) == (classes == int(pool.classes[0]))).all()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere() -> None:
    log, terminal = io.StringIO(), Terminal()
    for stream in (log, terminal):
        progress = Progress("fcn8s", 40, stream)
        for step in range(1, 41):
            progress.update(step, "loss 0.5")
    assert "\r" not in log.getvalue()
    assert log.getvalue().splitlines()[-1] == "fcn8s 40/40 loss 0.5 (0 s left)"
    assert len(log.getvalue().splitlines()) == 20
    assert terminal.getvalue().endswith("█ fcn8s 40/40 loss 0.5 (0 s left)\n")
    assert terminal.getvalue().count("\n") == 1
