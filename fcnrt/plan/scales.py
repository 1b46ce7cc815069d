"""Powers of two that keep the values of a trunk inside float16, for folding into its weights.

float16 has eleven bits, of numbers from 6e-5 to 65504. ReLU and max-pools are positively homogeneous, so a convolution
whose source is kept times ``s_in`` gives its result times ``s_out`` if its weights are multiplied by ``s_out / s_in``
and its bias by ``s_out``: exactly, since a power of two changes no bit of a number but its exponent. What is added,
concatenated, pooled, sliced or repeated shares one scale with what becomes of it. The image has none, and neither has
what local response normalisation, which is not homogeneous, reads or gives.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import TypeAlias

from fcnrt.errors import InputError
from fcnrt.plan.graph import Addition, Convolution, Graph, Image, Op, ResponseNorm, sources

Range: TypeAlias = "tuple[float, float]"
"""The least and the largest number that a layer gave, before ReLU."""

FLOAT16_LARGEST = 65504.0

LEAST, MOST = 2.0**-2, 2.0**12
"""Where the largest number of each value lies in it, nothing is scaled. The room above, sixteenfold, is for images that
nobody has seen yet; below, most of a map would be left with fewer than eleven bits."""

SCALED_LEAST, SCALED_MOST = 2.0**6, MOST
"""Where anything is scaled, the largest number of each value is brought into it: near enough to each other for weights
of ordinary size between two values."""

MOST_GAIN = 2.0**12
"""The largest scale. What calibration hardly woke up may be larger on other images."""

ROOM = 4.0
"""What has no scale must stay under float16's largest by this factor."""


class Float16RangeError(InputError):
    """A net's numbers leave float16, and no scale can help."""


def magnitudes(graph: Graph, ranges: Mapping[str, Range], image: float) -> dict[str, float]:
    """The largest magnitude that each value may have, by its name.

    Those of sums are what their parts allow at most: no sum is measured.

    Args:
        graph: the trunk.
        ranges: of each convolution's layer, as measured.
        image: the largest magnitude in the images.
    """
    found: dict[str, float] = {}
    for op in graph:
        if isinstance(op, Image):
            found[op.name] = image
        elif isinstance(op, Convolution):
            least, largest = ranges[op.layer]
            found[op.name] = max(largest, 0.0 if op.relu else -least)
        elif isinstance(op, Addition):
            found[op.name] = found[op.left] + found[op.right]
        elif isinstance(op, ResponseNorm):
            found[op.name] = found[op.source] * op.k**-op.beta
        else:
            found[op.name] = max(found[source] for source in sources(op))
    return found


def choose_scales(
    graph: Graph, magnitudes: Mapping[str, float], *, together: Iterable[Collection[str]] = (), always: bool = False
) -> dict[str, float]:
    """The scale of each value, a power of two, by its name.

    Args:
        graph: the trunk.
        magnitudes: the largest of each value.
        together: values that must share a scale for a reason that the graph does not show.
        always: scale also where every value lies well in float16 already, for the sake of the weights between them.
    """
    classes = _join(graph, together)
    fixed = {classes[name] for op in graph for name in _unscalable(op)}
    largest: dict[str, float] = {}
    for name, magnitude in magnitudes.items():
        largest[classes[name]] = max(largest.get(classes[name], 0.0), magnitude)
    free = {name: magnitude for name, magnitude in largest.items() if name not in fixed}
    if not always and all(power_of_two(magnitude, LEAST, MOST) == 1.0 for magnitude in free.values()):
        return dict.fromkeys(magnitudes, 1.0)
    scales = {
        name: min(power_of_two(magnitude, SCALED_LEAST, SCALED_MOST), MOST_GAIN) for name, magnitude in free.items()
    }
    return {name: scales.get(classes[name], 1.0) for name in magnitudes}


def power_of_two(magnitude: float, least: float, most: float) -> float:
    """The power of two nearest to 1 that brings ``magnitude`` to ``least`` … ``most``.

    1 for zero and for what is not finite.
    """
    if not math.isfinite(magnitude) or magnitude == 0.0 or least <= magnitude <= most:
        return 1.0
    if magnitude > most:
        return 2.0 ** -math.ceil(math.log2(magnitude / most))
    return 2.0 ** math.ceil(math.log2(least / magnitude))


def check_range(kept: Mapping[str, float], reason: str) -> None:
    """See that float16 holds everything, with some room.

    Args:
        kept: the largest magnitude of each value as it is kept, scale included, by a name that the user knows.
        reason: why no scale helps.

    Raises:
        Float16RangeError: it does not; names the largest.
    """
    finite = {name: magnitude for name, magnitude in kept.items() if math.isfinite(magnitude)}
    name = max(finite, key=finite.__getitem__, default="")
    if name and finite[name] * ROOM > FLOAT16_LARGEST:
        raise Float16RangeError(
            f"{name} reaches {finite[name]:.3g} on the calibration images; float16 ends at {FLOAT16_LARGEST:.0f}, "
            f"{ROOM:.0f} times as much is wanted as room for other images, and {reason}; use dtype='bfloat16'"
        )


def _unscalable(op: Op) -> tuple[str, ...]:
    """The values that ``op`` wants as they are."""
    if isinstance(op, Image):
        return (op.name,)
    return (op.source, op.name) if isinstance(op, ResponseNorm) else ()


def _join(graph: Graph, together: Iterable[Collection[str]]) -> dict[str, str]:
    """Of each value: one that stands for all that share its scale."""
    parents = {op.name: op.name for op in graph}

    def find(name: str) -> str:
        while parents[name] != name:
            name = parents[name]
        return name

    def join(names: Collection[str]) -> None:
        roots = [find(name) for name in names]
        for root in roots[1:]:
            parents[find(root)] = find(roots[0])

    for op in graph:
        if not isinstance(op, (Image, Convolution, ResponseNorm)):
            join((op.name, *sources(op)))
    for names in together:
        join(names)
    layers: dict[str, Convolution] = {}
    for op in graph:
        if isinstance(op, Convolution):
            first = layers.setdefault(op.layer, op)
            # One layer run twice has one weight and one bias.
            join((first.source, op.source))
            join((first.name, op.name))
    return {name: find(name) for name in parents}
