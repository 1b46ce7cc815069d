"""The matrices of Winograd's short convolutions, by Toom and Cook's construction."""

from __future__ import annotations

import functools

import numpy as np


@functools.cache
def matrices(points: tuple[float, ...], outputs: int, taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``A'``, ``G`` and ``B'`` of ``F(outputs, taps)``, such that ``A' ((G g) * (B' d))`` convolves ``d`` with ``g``.

    They multiply two polynomials by their values at ``points`` and at infinity. Which points are taken decides how much
    is lost to rounding.

    Args:
        points: ``outputs + taps - 2`` of them, all different.
        outputs: that one tile gives.
        taps: of the filter.

    Returns:
        float64 ``[outputs,n]``, ``[n,taps]`` and ``[n,n]``, where ``n = outputs + taps - 1``.
    """
    at, inputs = np.array(points), outputs + taps - 1
    others = [np.delete(at, index) for index in range(len(at))]
    scales = np.array([np.prod(point - rest) for point, rest in zip(at, others, strict=True)])
    infinity = np.eye(1, outputs, outputs - 1), np.eye(1, taps, taps - 1)
    a = np.concatenate([np.vander(at, outputs, increasing=True), infinity[0]])
    g = np.concatenate([np.vander(at, taps, increasing=True) / scales[:, None], infinity[1]])
    b = np.zeros((inputs, inputs))
    for row, rest in enumerate(others):
        b[row, : inputs - 1] = np.poly(rest)[::-1]
    b[-1] = np.poly(at)[::-1]
    return a.T.copy(), g, b
