"""One thing to compute, which every contender computes in its own way: a group of the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.baselines import Runs, peer_runs
from benchmarks.contenders import REFERENCE, Contender, Part
from benchmarks.timing import Inputs

Output = Literal["scores", "labels"]
Role = Literal["image", "map", "scores"]


@dataclass(frozen=True)
class Given:
    """An input, float32 and contiguous, and what it is in the net, which decides how a contender meets it.

    An image comes as it is. A feature map has the type and layout in which the contender's trunk leaves it. So have
    scores, except that fcnrt keeps them in float32, class by class.
    """

    role: Role
    tensor: Tensor

    def to(self, contender: Contender) -> Tensor:
        ours = contender.kind == "fcnrt"
        if self.role == "image" or (self.role == "scores" and ours):
            return self.tensor
        nhwc = contender.channels_last or ours
        layout = torch.channels_last if nhwc else torch.contiguous_format
        return self.tensor.to(contender.dtype, memory_format=layout)


@dataclass(frozen=True)
class Workload:
    """A group, but for what is asked for: scores or labels."""

    title: str
    given: tuple[Given, ...]
    eager: Callable[[], nn.Module]
    """makes the reference, which takes the inputs and returns scores ``[N,C,H,W]``; it may be converted in place"""
    fused: Callable[[torch.dtype], Runs]
    """makes fcnrt's, computing in a type"""
    trained: bool = False
    fused_without: Callable[[torch.dtype, tuple[Part, ...]], Runs] | None = None
    """makes fcnrt's without some of its parts, where that is asked for"""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """written beside each result"""

    def inputs(self, contender: Contender) -> Inputs:
        """The inputs as ``contender`` meets them."""
        return tuple(given.to(contender) for given in self.given)

    def runs(self, contender: Contender, output: Output) -> Runs:
        """The functions to call with ``inputs(contender)``."""
        if contender.without:
            assert self.fused_without is not None, f"{self.title} has nothing to leave out"
            return self.fused_without(contender.dtype, contender.without)
        if contender.kind == "fcnrt":
            return self.fused(contender.dtype)
        return peer_runs(contender, self.eager(), self.inputs(contender), output)

    def reference(self) -> Tensor:
        """Scores of the eager float32 module."""
        eager = self.eager()
        with torch.inference_mode():
            return eager(*self.inputs(REFERENCE))  # type: ignore[no-any-return]
