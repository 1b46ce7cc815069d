"""Which ops run as one step: their intermediate values are never whole in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from fcnrt.plan.graph import Addition, Convolution, Graph, MaxPool, Op

Group: TypeAlias = "tuple[Op, ...]"


def group_ops(graph: Graph, *, chain: bool = True) -> tuple[Group, ...]:
    """The ops of ``graph`` in groups, in an order in which they can run.

    A convolution takes along the pool without overlap, or the addition, that alone reads it. With ``chain``, the
    convolution that alone reads the image's takes it along in turn: the image has so few channels that computing an
    overlap twice costs less than writing and reading the widest map of the net.
    """
    readers = graph.readers()
    outputs = set(graph.outputs.values())

    def only_reader(op: Op) -> Op | None:
        reading = readers[op.name]
        return reading[0] if len(reading) == 1 and op.name not in outputs else None

    order = {op.name: position for position, op in enumerate(graph)}
    groups: dict[str, Group] = {}
    joined: set[str] = set()
    for op in graph:
        if op.name in joined:
            continue
        group: Group = (op,)
        follower = only_reader(op)
        if chain and _reads_image(graph, op) and isinstance(follower, Convolution) and follower.groups == 1:
            group, follower = (op, follower), only_reader(follower)
        if isinstance(group[-1], Convolution) and _joins(group, follower, order):
            assert follower is not None
            group = (*group, follower)
        groups[group[-1].name] = group
        joined.update(member.name for member in group)
    # A group runs where its last op stood: by then all that an addition adds is there.
    return tuple(sorted(groups.values(), key=lambda group: order[group[-1].name]))


def _reads_image(graph: Graph, op: Op) -> bool:
    return isinstance(op, Convolution) and op.source == graph.image.name


def _joins(group: Sequence[Op], follower: Op | None, order: dict[str, int]) -> bool:
    if isinstance(follower, MaxPool):
        return all(
            window.kernel == window.stride and window.padding == 0 and window.dilation == 1
            for window in follower.windows
        )
    # Of two convolutions that are added, the one that runs last takes the addition along.
    if isinstance(follower, Addition) and len(group) == 1:
        other = follower.right if follower.left == group[-1].name else follower.left
        return other != group[-1].name and order[other] < order[group[-1].name]
    return False
