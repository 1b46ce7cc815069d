"""Files as their programs write them, read through ``fcnrt.load``, beside those programs' forward passes in torch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fcnrt
from fcnrt.checkpoints import Checkpoint, read_checkpoint
from fcnrt.checkpoints.layout import ArchRule, Layout
from fcnrt.checkpoints.recognition import Recognition
from tests.publishers.catalogue import MARK, PUBLISHERS, Key, claims, rows

SIZES = ((33, 47), (57, 35))
TOLERANCE = 1e-5


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"{MARK}(layout, arch, *variants): rows of the table of layouts, each of them a case of the test"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test runs once for each row that it says it proves."""
    marks = list(metafunc.definition.iter_markers(MARK))[::-1]
    if marks:
        keys = [key for mark in marks for key in claims(*mark.args)]
        metafunc.parametrize("proof", keys, ids=[" ".join(filter(None, key)) for key in keys], indirect=True)


class Proof:
    """That files of one row are read, and read as their program runs them.

    Args:
        key: The row's.
        taken: What files are taken for: their containers, layouts and rules, as they are read.
    """

    def __init__(self, key: Key, taken: list[tuple[str, Layout, ArchRule]]) -> None:
        self.layout, self.arch, self.variant = key
        self.taken = taken
        self.compared = False

    def compare(
        self,
        path: Path,
        published: nn.Module | Callable[[Tensor], Any],
        *,
        sizes: tuple[tuple[int, int], ...] = SIZES,
        **said: Any,
    ) -> fcnrt.Segmenter:
        """Loads ``path`` and compares its logits, fused and eager, with those of ``published`` in float64; and labels.

        Args:
            path: A file of this row; a file of another fails.
            published: Image ``[2,C,H,W]`` to logits, or to those of each head.
            sizes: Of images.
            said: To ``fcnrt.load``.
        """
        run = published.double().eval() if isinstance(published, nn.Module) else published
        model = fcnrt.load(path, device="cpu", dtype=torch.float32, engine="fused", **said)
        container, layout, rule = self.taken[-1]
        row = next(row for row in rows() if row.means(layout, rule, model.spec.arch))
        assert row.key == (self.layout, self.arch, self.variant)
        assert container in PUBLISHERS[layout.name].containers
        for size in sizes:
            x = torch.randn(2, model.engine.in_channels, *size)
            with torch.inference_mode():
                expected = _by_head(run(x.double()))
                scores = _by_head(model(x))
                for found in (scores, _by_head(model.reference(x))):
                    assert_alike(found, expected)
                for head, labels in _by_head(model.predict_labels(x)).items():
                    assert torch.equal(labels, scores[head].argmax(dim=1).to(labels.dtype))
        if not rule.steps:  # which leave weights in float32
            with torch.inference_mode():
                assert_alike(_by_head(copy.deepcopy(model.reference).double()(x.double())), expected, 1e-12)
        self.compared = True
        return model


@pytest.fixture
def proof(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Proof:
    taken: list[tuple[str, Layout, ArchRule]] = []
    recognised: list[tuple[Layout, ArchRule]] = []

    class Noting(Recognition):
        def spec(self) -> fcnrt.ModelSpec:
            recognised.append((self.layout, self.rule))
            return super().spec()

    def read(*args: Any, **kwargs: Any) -> Checkpoint:
        checkpoint = read_checkpoint(*args, **kwargs)
        taken.append((checkpoint.container, *recognised[-1]))
        return checkpoint

    monkeypatch.setattr("fcnrt.checkpoints.Recognition", Noting)
    monkeypatch.setattr("fcnrt.loading.read_checkpoint", read)
    return Proof(request.param, taken)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """A test that passes has compared something."""
    result = yield
    proof = pyfuncitem.funcargs.get("proof")
    assert not isinstance(proof, Proof) or proof.compared, "nothing was compared, so nothing is proved"
    return result


def assert_alike(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], tolerance: float = TOLERANCE) -> None:
    """The same heads, and no difference beyond the tolerance, in units of the largest expected value."""
    assert list(found) == list(expected)
    for head, logits in expected.items():
        assert found[head].shape == logits.shape
        assert logits.isfinite().all() and logits.std() > 0, "all alike: nothing is compared"
        assert float((found[head].double() - logits).abs().max() / logits.abs().max()) <= tolerance


def _by_head(logits: Any) -> Mapping[str, Tensor]:
    return logits if isinstance(logits, dict) else {"out": logits}


@pytest.fixture
def seeded() -> Callable[[Any], Any]:
    """A net with weights, biases and statistics that are neither zero nor alike, and that keep activations in range."""

    def fill(net: nn.Module) -> nn.Module:
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None and module.running_var is not None
                nn.init.normal_(module.running_mean, 0, 0.3)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.3)
            elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                inputs = module.in_channels // module.groups * module.kernel_size[0] * module.kernel_size[1]
                if isinstance(module, nn.ConvTranspose2d):
                    inputs = max(1, inputs // (module.stride[0] * module.stride[1]))
                nn.init.normal_(module.weight, 0, (2 / inputs) ** 0.5)
                if module.bias is not None:
                    nn.init.normal_(module.bias, 0, 0.3)
        return net.requires_grad_(False)

    return fill
