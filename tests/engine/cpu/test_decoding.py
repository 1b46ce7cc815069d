"""Labels strip by strip against the definition: the same, ties and NaN included, in less memory than the logits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fcnrt.engine.cpu import decoding
from fcnrt.engine.cpu.decoding import label_strips
from fcnrt.measuring import peak_bytes
from fcnrt_kernels import reference

CLASSES = 5


@pytest.fixture(params=[1, 1 << 11], ids="elements={}".format)
def strips(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "STRIP_ELEMENTS", request.param)


def whole_numbers(*shape: int) -> Tensor:
    """Few and small, so that all sums are exact and ties abound."""
    return torch.randint(-2, 3, shape).float()


def both(scores: Tensor, **how: Any) -> tuple[Any, Any]:
    order = ("taps", "kernel", "stride", "offset", "size", "rule")
    labels, probability = label_strips(scores, confidence=True, **how)
    assert torch.equal(label_strips(scores, **how), labels)
    expected = reference.upsample_argmax_confidence(scores, *(how[name] for name in order))
    assert labels.dtype == torch.uint8 and probability.dtype == torch.float16
    torch.testing.assert_close(probability, expected[1].half(), atol=1e-3, rtol=1e-3, equal_nan=True)
    return labels, expected[0]


@pytest.mark.usefixtures("strips")
@pytest.mark.parametrize("kind", ["bilinear", "depthwise", "dense"])
@pytest.mark.parametrize(
    ("kernel", "stride", "offset", "size"),
    [
        (4, 2, (0, 0), (24, 12)),
        (4, 2, (3, 1), (1, 1)),
        (16, 8, (13, 5), (61, 37)),
        (64, 32, (19, 32), (333, 50)),
        (3, 2, (1, 0), (20, 9)),
        (5, 3, (2, 4), (29, 11)),
        (2, 3, (1, 1), (30, 13)),
    ],
)
def test_transposed(kind: str, kernel: int, stride: int, offset: Any, size: Any) -> None:
    scores = whole_numbers(2, CLASSES, 12, 6)
    shape = {"bilinear": (), "depthwise": (CLASSES,), "dense": (CLASSES, CLASSES)}[kind]
    taps = whole_numbers(*shape, kernel, kernel) if shape else None
    labels, expected = both(
        scores, taps=taps, kernel=kernel, stride=stride, offset=offset, size=size, rule="transposed"
    )
    assert torch.equal(labels, expected)


@pytest.mark.usefixtures("strips")
@pytest.mark.parametrize("rule", ["half_pixel", "align_corners", "nearest"])
@pytest.mark.parametrize(
    ("coarse", "size"), [((1, 1), (5, 7)), ((7, 4), (28, 16)), ((9, 5), (61, 1)), ((6, 6), (1, 40))]
)
def test_resized(rule: str, coarse: Any, size: Any) -> None:
    """Rounding differs by a bit, so labels may where two classes are that close."""
    scores = torch.randn(2, CLASSES, *coarse)
    labels, expected = both(scores, taps=None, kernel=1, stride=1, offset=(0, 0), size=size, rule=rule)
    logits = reference.upsample_crop(scores, None, 1, 1, (0, 0), size, rule)
    best, chosen = logits.amax(dim=1), logits.gather(1, labels.long()[:, None])[:, 0]
    assert torch.allclose(best, chosen, atol=1e-5)
    assert (labels == expected).float().mean() > 0.99


@pytest.mark.usefixtures("strips")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("rule", ["transposed", "half_pixel", "nearest"])
def test_what_is_no_number(value: float, rule: str) -> None:
    """It wins or loses where it reaches, and nowhere else; of two NaN the first class is named."""
    scores = whole_numbers(1, CLASSES, 6, 7)
    scores[0, 2, 3, 3] = scores[0, 4, 3, 4] = value
    labels, expected = both(scores, taps=None, kernel=16, stride=8, offset=(4, 4), size=(48, 56), rule=rule)
    assert torch.equal(labels, expected)


def test_many_classes() -> None:
    scores = torch.randn(1, 300, 3, 4)
    how: dict[str, Any] = {"kernel": 4, "stride": 2, "offset": (1, 1), "size": (6, 8)}
    assert torch.equal(label_strips(scores, **how), reference.upsample_argmax(scores, None, **how))
    assert label_strips(scores, **how).dtype == torch.int32


@pytest.mark.parametrize("rule", ["transposed", "half_pixel"])
def test_memory(rule: str) -> None:
    scores, size = torch.randn(1, 21, 40, 40), (300, 300)
    peak = peak_bytes(lambda: label_strips(scores, kernel=16, stride=8, size=size, rule=rule), scores.device)
    assert peak < 0.75 * 21 * 300 * 300 * 4


def test_a_scene_in_half_precision() -> None:
    scores = torch.randn(2, 3, 5, 6).to(torch.bfloat16)
    how: dict[str, Any] = {"kernel": 4, "stride": 2, "offset": (1, 1), "size": (8, 9)}
    assert torch.equal(label_strips(scores, **how), reference.upsample_argmax(scores, None, **how))
