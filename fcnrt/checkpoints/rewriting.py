"""Changes to tensors that make one program's network another's, exactly.

Each says what it does to shapes apart from what it does to weights, so that shapes are judged before any weight is
read. Arithmetic is in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from fcnrt.checkpoints.chains import NORMALIZED
from fcnrt.checkpoints.wording import quote
from fcnrt.errors import CheckpointError, InputError

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]

BATCHNORM_EPS = 1e-5
"""torch's default, which no file states."""


class Step(Protocol):
    """One change to a state dict, in place."""

    def shapes(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """What it does to shapes.

        Raises:
            CheckpointError: A tensor that it needs is missing, or has another shape than it can take.
        """

    def weights(self, state: dict[str, Tensor]) -> None:
        """What it does to tensors that have these shapes.

        Raises:
            CheckpointError: It cannot be done with their values.
        """


def shapes_after(shapes: Shapes, steps: Iterable[Step]) -> dict[str, tuple[int, ...]]:
    """The shapes after all steps.

    Raises:
        CheckpointError: A step cannot be taken.
    """
    changed = dict(shapes)
    for step in steps:
        step.shapes(changed)
    return changed


def rewrite(state: Mapping[str, Tensor], steps: Iterable[Step]) -> dict[str, Tensor]:
    """The state dict after all steps, whose shapes have been found to be right."""
    changed = dict(state)
    for step in steps:
        step.weights(changed)
    return changed


@dataclass(frozen=True)
class FoldBatchnorm:
    """Each batch normalization that a chain kept, into its convolution (Ioffe and Szegedy, section 3.1)."""

    def shapes(self, shapes: dict[str, tuple[int, ...]]) -> None:
        for layer in _normalized(shapes):
            weight = _take(shapes, f"{layer}.weight", remove=False)
            for leaf in ("running_mean", "running_var", "weight", "bias"):
                key = f"{layer}.{NORMALIZED}.{leaf}"
                _expect(key, _take(shapes, key), weight[:1])
            shapes.setdefault(f"{layer}.bias", weight[:1])
            _expect(f"{layer}.bias", shapes[f"{layer}.bias"], weight[:1])

    def weights(self, state: dict[str, Tensor]) -> None:
        for layer in _normalized(state):
            mean, variance, gain, shift = (
                state.pop(f"{layer}.{NORMALIZED}.{leaf}").double()
                for leaf in ("running_mean", "running_var", "weight", "bias")
            )
            gain = gain * (variance + BATCHNORM_EPS).rsqrt()
            bias = state.get(f"{layer}.bias", torch.zeros_like(mean)).double()
            weight = state[f"{layer}.weight"]
            state[f"{layer}.weight"] = (weight.double() * gain[:, None, None, None]).float()
            state[f"{layer}.bias"] = ((bias - mean) * gain + shift).float()


@dataclass(frozen=True)
class AbsorbScale:
    """Caffe's Scale layer ``scale``, one factor per channel, into ``layer`` behind it.

    The architecture scales by ``nominal``: nothing changes if the factors are that in float32, as the authors' are.
    """

    scale: str
    layer: str
    nominal: float

    def shapes(self, shapes: dict[str, tuple[int, ...]]) -> None:
        weight = _take(shapes, f"{self.layer}.weight", remove=False)
        _expect(f"{self.scale}.weight", _take(shapes, f"{self.scale}.weight"), weight[1:2])

    def weights(self, state: dict[str, Tensor]) -> None:
        factors = state.pop(f"{self.scale}.weight").double() / torch.tensor(self.nominal).item()
        weight = state[f"{self.layer}.weight"]
        state[f"{self.layer}.weight"] = (weight.double() * factors.view(1, -1, 1, 1)).float()


@dataclass(frozen=True)
class AbsorbBias:
    """The bias, if there is one, of the transposed convolution ``layer`` into that of ``skip``, added to what it gives.

    It is the same at every position, so it may as well come with the skip's scores. Without a skip it must be zero,
    as it starts: nothing behind the last layer has a bias.
    """

    layer: str
    skip: str = ""

    def shapes(self, shapes: dict[str, tuple[int, ...]]) -> None:
        if f"{self.layer}.bias" in shapes:
            weight = _take(shapes, f"{self.layer}.weight", remove=False)
            _expect(f"{self.layer}.bias", _take(shapes, f"{self.layer}.bias"), weight[1:2])
            if self.skip:
                _expect(f"{self.skip}.bias", _take(shapes, f"{self.skip}.bias", remove=False), weight[1:2])

    def weights(self, state: dict[str, Tensor]) -> None:
        bias = state.pop(f"{self.layer}.bias", None)
        if bias is None:
            return
        if self.skip:
            key = f"{self.skip}.bias"
            state[key] = (state[key].double() + bias.double()).float()
        elif bias.any():
            raise CheckpointError(
                f"the bias of its last transposed convolution, {quote(self.layer)}, was trained away from zero; "
                "expected none there, as in wkentaro/fcn since June 2017. Set it to zero and train on without it"
            )


@dataclass(frozen=True)
class ExpandGroups:
    """A transposed convolution ``layer`` of one group per class, ``[C,1,k,k]``, as a dense one with zeros."""

    layer: str

    def shapes(self, shapes: dict[str, tuple[int, ...]]) -> None:
        key = f"{self.layer}.weight"
        classes, _, rows, columns = shapes[key]
        shapes[key] = (classes, classes, rows, columns)

    def weights(self, state: dict[str, Tensor]) -> None:
        key = f"{self.layer}.weight"
        grouped = state[key]
        classes, _, rows, columns = grouped.shape
        dense = torch.zeros(classes, classes, rows, columns)
        dense[range(classes), range(classes)] = grouped[:, 0]
        state[key] = dense


@dataclass(frozen=True)
class Binarize:
    """The one score of a binary head, "yes where its sigmoid is above ``threshold``", as two of which the larger wins.

    Class 1 keeps the score. Class 0 gets the score at which the sigmoid is the threshold, everywhere: a row of zeros,
    with that as its bias. Interpolation leaves a constant as it is, so the labels are the program's own.

    Args:
        layers: 1x1 convolutions, of which a file may lack some.
        threshold: A probability.

    Raises:
        InputError: The threshold is no probability that can be exceeded and fallen short of.
    """

    layers: tuple[str, ...]
    threshold: float

    def __post_init__(self) -> None:
        threshold = self.threshold
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 < threshold < 1:
            raise InputError(
                f"option threshold is {threshold!r}; expected a probability above 0 and below 1, such as 0.3"
            )

    def shapes(self, shapes: dict[str, tuple[int, ...]]) -> None:
        for layer in self._found(shapes):
            weight = _take(shapes, f"{layer}.weight", remove=False)
            _expect(f"{layer}.weight", weight[:1], (1,))
            _expect(f"{layer}.bias", _take(shapes, f"{layer}.bias"), (1,))
            shapes |= {f"{layer}.weight": (2, *weight[1:]), f"{layer}.bias": (2,)}

    def weights(self, state: dict[str, Tensor]) -> None:
        log_odds = math.log(self.threshold / (1 - self.threshold))
        for layer in self._found(state):
            weight, bias = state[f"{layer}.weight"], state[f"{layer}.bias"]
            state[f"{layer}.weight"] = torch.cat((torch.zeros_like(weight), weight))
            state[f"{layer}.bias"] = torch.cat((bias.new_tensor([log_odds]), bias))

    def _found(self, keys: Iterable[str]) -> list[str]:
        return [layer for layer in self.layers if f"{layer}.weight" in keys]


def _normalized(keys: Iterable[str]) -> list[str]:
    """Convolutions with a batch normalization behind them."""
    tail = f".{NORMALIZED}.running_mean"
    return [key.removesuffix(tail) for key in keys if key.endswith(tail)]


def _take(shapes: dict[str, tuple[int, ...]], key: str, *, remove: bool = True) -> tuple[int, ...]:
    if key not in shapes:
        raise CheckpointError(f"{quote(key)} is missing; expected it beside its layer's others")
    return shapes.pop(key) if remove else shapes[key]


def _expect(key: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if shape != expected:
        raise CheckpointError(f"{quote(key)} has shape {shape}; expected {expected}, as its convolution has it")
