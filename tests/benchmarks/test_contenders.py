"""Who competes where, and what is said of those that cannot."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from benchmarks import exported, nets
from benchmarks.contenders import Contender, Part, contenders
from benchmarks.gate import EXACT, tolerance_of
from fcnrt.plan.graph import Convolution
from fcnrt.plan.lowering import lower
from fcnrt.plan.selection import select_algorithm

CPU = torch.device("cpu")


def test_runtimes_compete_on_whole_nets_alone() -> None:
    kinds = {contender.kind for contender in contenders(CPU, compiled=False, graphs=True, runtimes=True)}
    assert {"onnxruntime", "openvino"} <= kinds
    assert not {"onnxruntime", "openvino", "compile"} & {c.kind for c in contenders(CPU, compiled=False, graphs=True)}


def test_titles() -> None:
    assert Contender("onnxruntime").title == "ONNX Runtime float32"
    assert str(Contender("fcnrt", without=("winograd", "halo"))) == "fcnrt-float32-without-Winograd-halo"


def test_a_missing_peer_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openvino" else object())
    reason = exported.why_missing(Contender("openvino"))
    assert reason is not None
    assert reason.startswith("openvino not installed: pip install")
    assert exported.why_missing(Contender("onnxruntime")) is None
    assert exported.why_missing(Contender("eager")) is None


@pytest.mark.parametrize(
    "parts",
    [("halo",), ("winograd", "halo"), ("halo", "decoder"), ("decoder",), ("matrix", "winograd", "halo", "decoder")],
)
def test_whatever_is_left_out_the_scores_are_the_same(parts: tuple[Part, ...]) -> None:
    width, x = 1 / 8, nets.image(0, 45, 70)
    runs = nets.seeded_runs_without(parts, CPU, torch.float32, width)
    with torch.inference_mode():
        expected = nets.seeded_net(CPU, width)(x)
        assert runs.scores is not None
        assert runs.labels is not None
        error = (runs.scores(x) - expected).norm() / expected.norm()
        assert error <= EXACT.relative_error == tolerance_of(Contender("fcnrt"), trained=True).relative_error
        assert (runs.labels(x) == expected.argmax(dim=1)).float().mean() >= EXACT.label_agreement


def test_what_is_left_out_is_left_out() -> None:
    graph = lower(nets.seeded_net(CPU, 1.0), 64, 64)

    def chosen() -> set[str]:
        return {
            select_algorithm(op, exact=True, capability="AVX2").algorithm for op in graph if isinstance(op, Convolution)
        }

    assert chosen() == {"direct", "matrix", "winograd"}
    with nets._selecting_without(("winograd",)):
        assert chosen() == {"direct", "matrix"}
    with nets._selecting_without(("matrix", "winograd", "halo", "decoder")):
        assert chosen() == {"direct"}
