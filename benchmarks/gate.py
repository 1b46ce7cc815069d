"""Right first, then fast: what a contender must agree on with the reference before it is timed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.contenders import Contender
from fcnrt.measuring import label_agreement, relative_error


class GateError(AssertionError):
    """A contender computes something else; no time is reported for it."""


@dataclass(frozen=True)
class Agreement:
    """With the eager float32 reference, on the same input."""

    relative_error: float | None
    """of the scores, in the Euclidean norm; None where the contender never forms them"""
    label_agreement: float
    """the share of pixels with the same label"""


@dataclass(frozen=True)
class Tolerance:
    relative_error: float
    label_agreement: float


EXACT = Tolerance(1e-5, 0.9999)
"""float32: sums in another order. A label changes only where two scores are closer than that."""

SIXTEEN_BIT = Tolerance(1e-2, 0.999)
"""A trunk of 16 layers that round to 8 bits (bfloat16). Holds for the labels of a trained net: the scores of random
weights lie closer together than those of any net that has learned something."""

SAME_FUNCTION = Tolerance(5e-2, 0.0)
"""For peers, which are free to round as they like: enough to know that they compute the same thing."""


def tolerance_of(contender: Contender, *, trained: bool) -> Tolerance:
    """What ``contender`` has to meet, on a ``trained`` net or on random weights."""
    if contender.kind != "fcnrt":
        return SAME_FUNCTION
    if contender.dtype == torch.float32:
        return EXACT
    return SIXTEEN_BIT if trained else Tolerance(SIXTEEN_BIT.relative_error, 0.0)


def measure(scores: Tensor | None, labels: Tensor, reference: Tensor) -> Agreement:
    """Compare ``scores`` ``[N,C,H,W]`` and ``labels`` ``[N,H,W]`` with the reference's scores."""
    error = None if scores is None else relative_error(scores, reference)
    return Agreement(error, label_agreement(labels, reference))


def check(agreement: Agreement, tolerance: Tolerance, name: str) -> None:
    """Let ``name`` pass.

    Raises:
        GateError: it is not close enough to the reference. NaN never is.
    """
    error, labels = agreement.relative_error, agreement.label_agreement
    if error is not None and not error <= tolerance.relative_error:
        raise GateError(
            f"{name}: relative error {error:.2e} against the eager reference, expected at most "
            f"{tolerance.relative_error:.0e}; no time is reported"
        )
    if not labels >= tolerance.label_agreement:
        raise GateError(
            f"{name}: {labels:.3%} of the labels are the eager reference's, expected at least "
            f"{tolerance.label_agreement:.2%}; no time is reported"
        )
