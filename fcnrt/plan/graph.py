"""The trunk of a net as data: what is computed from what, without weights and without sizes.

Convolutions, pools and what joins their branches. ReLU belongs to the op that it follows. All values are feature maps
by name; the first is the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from fcnrt.plan.halo import Extension, Sliding

Pair: TypeAlias = "tuple[int, int]"
"""Of rows, then of columns."""

POINTWISE = (Sliding(), Sliding())


@dataclass(frozen=True)
class Image:
    """The normalised image, with the zeros that its readers want around it."""

    name: str
    channels: int
    padding: Pair = (0, 0)


@dataclass(frozen=True)
class Convolution:
    """``relu(conv(source) + bias)``, or without ReLU; with the weights of ``layer``."""

    name: str
    source: str
    layer: str
    in_channels: int
    channels: int
    windows: tuple[Sliding, Sliding]
    groups: int = 1
    relu: bool = False


@dataclass(frozen=True)
class MaxPool:
    """The largest of each window; positions beyond the map do not count."""

    name: str
    source: str
    channels: int
    windows: tuple[Sliding, Sliding]


@dataclass(frozen=True)
class Addition:
    """``relu(left + right)``, or without ReLU."""

    name: str
    left: str
    right: str
    channels: int
    relu: bool = False


@dataclass(frozen=True)
class Concatenation:
    """Maps side by side along the channels."""

    name: str
    parts: tuple[str, ...]
    channels: int


@dataclass(frozen=True)
class ResponseNorm:
    """Local response normalisation across channels, as ``torch.nn.functional.local_response_norm`` defines it."""

    name: str
    source: str
    channels: int
    size: int
    alpha: float
    beta: float
    k: float


@dataclass(frozen=True)
class Replication:
    """A map with its edges repeated."""

    name: str
    source: str
    channels: int
    windows: tuple[Extension, Extension]


@dataclass(frozen=True)
class ChannelSlice:
    """Channels ``first`` to ``first + channels`` of a map."""

    name: str
    source: str
    first: int
    channels: int


Op: TypeAlias = Image | Convolution | MaxPool | Addition | Concatenation | ResponseNorm | Replication | ChannelSlice


def sources(op: Op) -> tuple[str, ...]:
    """The values that an op reads."""
    if isinstance(op, Image):
        return ()
    if isinstance(op, Addition):
        return (op.left, op.right)
    if isinstance(op, Concatenation):
        return op.parts
    return (op.source,)


def windows(op: Op) -> tuple[Sliding | Extension, Sliding | Extension]:
    """How an op walks over its sources, in rows and in columns."""
    return op.windows if isinstance(op, (Convolution, MaxPool, Replication)) else POINTWISE


@dataclass(frozen=True)
class Graph:
    """Ops in an order in which they can run.

    Args:
        ops: the first is the image; every name is used once.
        outputs: feature map as the decoders name it -> value.
    """

    ops: tuple[Op, ...]
    outputs: Mapping[str, str] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Op]:
        return iter(self.ops)

    @property
    def image(self) -> Image:
        """The first op."""
        assert isinstance(self.ops[0], Image)
        return self.ops[0]

    def readers(self) -> dict[str, list[Op]]:
        """The ops that read each value."""
        readers: dict[str, list[Op]] = {op.name: [] for op in self.ops}
        for op in self.ops:
            for source in sources(op):
                readers[source].append(op)
        return readers
