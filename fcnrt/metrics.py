"""The four figures of the paper (section 5), from one confusion matrix over a whole data set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fcnrt.errors import InputError


@dataclass(frozen=True)
class Scores:
    """Each in 0..1. A class that is neither in the truth nor predicted has no IU (NaN) and counts in no mean."""

    pixel_accuracy: float
    mean_accuracy: float
    mean_iu: float
    frequency_weighted_iu: float
    class_iu: tuple[float, ...]


class ConfusionMatrix:
    """Counts pixels of true class i (row) predicted as j (column).

    True labels outside 0..num_classes-1, such as the void label 255, are left out, as shelhamer's ``score.py``
    and pytorch-fcn's ``utils.py`` do.
    """

    def __init__(self, num_classes: int) -> None:
        if num_classes < 1:
            raise InputError(f"a confusion matrix needs at least 1 class, got {num_classes}")
        self.num_classes = num_classes
        self.counts: NDArray[np.int64] = np.zeros((num_classes, num_classes), dtype=np.int64)

    def update(self, truth: ArrayLike, prediction: ArrayLike) -> None:
        """Adds label maps of any equal shape.

        Raises:
            InputError: The shapes differ, or a predicted label (where the truth counts) is no class.
        """
        true, predicted = np.asarray(truth), np.asarray(prediction)
        if true.shape != predicted.shape:
            raise InputError(f"truth is {true.shape} but the prediction is {predicted.shape}; they must be alike")
        counted = (true >= 0) & (true < self.num_classes)
        rows, columns = true[counted].astype(np.int64), predicted[counted].astype(np.int64)
        if columns.size and not 0 <= columns.min() <= columns.max() < self.num_classes:
            raise InputError(
                f"predicted labels run from {columns.min()} to {columns.max()}; expected 0..{self.num_classes - 1}"
            )
        flat = np.bincount(rows * self.num_classes + columns, minlength=self.num_classes**2)
        self.counts += flat.reshape(self.counts.shape)

    def scores(self) -> Scores:
        """The figures of all that was added.

        Raises:
            InputError: Nothing was added.
        """
        hits = np.diag(self.counts).astype(np.float64)
        true = self.counts.sum(1).astype(np.float64)
        total = true.sum()
        if not total:
            raise InputError("no labelled pixel was added; add label maps before asking for scores")
        union = true + self.counts.sum(0) - hits
        iu = np.divide(hits, union, out=np.full_like(hits, np.nan), where=union > 0)
        accuracy = np.divide(hits, true, out=np.full_like(hits, np.nan), where=true > 0)
        return Scores(
            pixel_accuracy=float(hits.sum() / total),
            mean_accuracy=float(np.nanmean(accuracy)),
            mean_iu=float(np.nanmean(iu)),
            frequency_weighted_iu=float((true * np.nan_to_num(iu)).sum() / total),
            class_iu=tuple(float(value) for value in iu),
        )
