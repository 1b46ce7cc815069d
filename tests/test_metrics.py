from __future__ import annotations

import numpy as np
import pytest

from fcnrt.errors import InputError
from fcnrt.metrics import ConfusionMatrix


def test_the_four_figures_of_a_case_worked_by_hand() -> None:
    matrix = ConfusionMatrix(2)
    matrix.update([[0, 0, 0, 1]], [[0, 0, 1, 1]])
    scores = matrix.scores()
    assert scores.pixel_accuracy == pytest.approx(3 / 4)
    assert scores.mean_accuracy == pytest.approx((2 / 3 + 1) / 2)
    assert scores.class_iu == pytest.approx((2 / 3, 1 / 2))
    assert scores.mean_iu == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert scores.frequency_weighted_iu == pytest.approx((3 * 2 / 3 + 1 * 1 / 2) / 4)


def test_one_matrix_over_the_whole_set() -> None:
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 5, (2, 6, 8, 9))
    apart, together = ConfusionMatrix(5), ConfusionMatrix(5)
    together.update(truth, prediction)
    for true, predicted in zip(truth, prediction, strict=True):
        apart.update(true, predicted)
    np.testing.assert_array_equal(apart.counts, together.counts)
    assert together.counts[2, 3] == ((truth == 2) & (prediction == 3)).sum()


def test_void_is_left_out_and_absent_classes_count_in_no_mean() -> None:
    matrix = ConfusionMatrix(4)
    matrix.update(np.array([0, 1, 255, 255], dtype=np.uint8), np.array([0, 1, 2, 3], dtype=np.uint8))
    scores = matrix.scores()
    assert matrix.counts.sum() == 2
    assert scores.mean_iu == scores.mean_accuracy == scores.frequency_weighted_iu == 1
    assert np.isnan(scores.class_iu[2:]).all()


def test_what_cannot_be_scored_is_refused() -> None:
    matrix = ConfusionMatrix(2)
    with pytest.raises(InputError, match="no labelled pixel"):
        matrix.scores()
    with pytest.raises(InputError, match=r"\(2,\) but the prediction is \(3,\)"):
        matrix.update([0, 1], [0, 1, 1])
    with pytest.raises(InputError, match=r"run from 0 to 2; expected 0..1"):
        matrix.update([0, 1], [0, 2])
    with pytest.raises(InputError, match="at least 1 class, got 0"):
        ConfusionMatrix(0)
