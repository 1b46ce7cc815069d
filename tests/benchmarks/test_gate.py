"""No time for a wrong answer."""

from __future__ import annotations

import pytest
import torch

from benchmarks.contenders import REFERENCE, Contender, contenders
from benchmarks.gate import Agreement, GateError, check, measure, tolerance_of

FUSED = Contender("fcnrt")
FUSED_NARROW = Contender("fcnrt", torch.bfloat16)


def test_what_is_measured() -> None:
    reference = torch.tensor([[[[1.0, 0.0, 3.0, 4.0]], [[0.0, 2.0, 0.0, 0.0]]]])
    scores = reference.clone()
    scores[0, 1, 0, 0] = 2
    agreement = measure(scores, scores.argmax(dim=1), reference)
    assert agreement.label_agreement == 0.75
    assert agreement.relative_error == pytest.approx(2 / 30**0.5)
    assert measure(None, reference.argmax(dim=1).to(torch.uint8), reference) == Agreement(None, 1.0)


@pytest.mark.parametrize(
    ("contender", "trained", "agreement", "message"),
    [
        (FUSED, False, Agreement(2e-5, 1.0), "relative error 2.00e-05 .* at most 1e-05; no time is reported"),
        (FUSED, False, Agreement(float("nan"), 1.0), "relative error nan"),
        (FUSED, False, Agreement(0.0, 0.9998), "99.980% of the labels .* at least 99.99%; no time is reported"),
        (FUSED_NARROW, True, Agreement(5e-3, 0.9985), "99.850% of the labels .* at least 99.90%"),
        (FUSED_NARROW, False, Agreement(2e-2, 1.0), "at most 1e-02"),
        (Contender("eager", torch.bfloat16), True, Agreement(0.1, 1.0), "at most 5e-02"),
    ],
)
def test_a_red_gate(contender: Contender, trained: bool, agreement: Agreement, message: str) -> None:
    with pytest.raises(GateError, match=message):
        check(agreement, tolerance_of(contender, trained=trained), contender.title)


@pytest.mark.parametrize(
    ("contender", "trained", "agreement"),
    [
        (FUSED, True, Agreement(1e-6, 1.0)),
        (FUSED_NARROW, True, Agreement(5e-3, 0.9995)),
        (FUSED_NARROW, False, Agreement(5e-3, 0.98)),  # random weights: the scores all but tie
        (Contender("compile"), True, Agreement(None, 0.99)),
    ],
)
def test_a_green_gate(contender: Contender, trained: bool, agreement: Agreement) -> None:
    check(agreement, tolerance_of(contender, trained=trained), contender.title)


def test_the_reference_comes_first_and_once() -> None:
    competing = contenders(torch.device("cpu"), compiled=True, graphs=True)
    assert competing[0] == REFERENCE
    assert sum(contender.is_reference for contender in competing) == 1
    assert FUSED in competing
    assert Contender("compile") in competing
    assert len({contender.title for contender in competing}) == len(competing)
