"""Folds powers of two into a net, so that float16 holds its activations and its weights (``fcnrt.plan.scales``)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

from fcnrt.engine.activations import activation_ranges
from fcnrt.engine.planned import NOMINAL_SIZE
from fcnrt.engine.planned.arena import normal_tensors
from fcnrt.models import FCN
from fcnrt.models.decoder import Decoder, Score, Skip
from fcnrt.plan.graph import Convolution, Graph
from fcnrt.plan.lowering import NotLowerableError, lower
from fcnrt.plan.scales import FLOAT16_LARGEST, Float16RangeError, check_range, choose_scales, magnitudes, power_of_two

LOSS = 2.0**-10
"""Of a layer's weights, relative to all of them: twice what rounding to eleven bits costs at most."""

UNSCALABLE = "neither the image has a scale nor what local response normalisation reads or gives"


def fold_scales(net: FCN, images: Sequence[Tensor]) -> dict[str, float]:
    """Make ``net`` one whose trunk stays inside float16, and which gives the same scores.

    Its layers get new weights and its decoders new factors; no tensor changes in place. Where nothing needs a scale,
    nothing changes.

    Args:
        net: a reference net in float32 and evaluation mode, batch norm folded.
        images: normalised, ``[N,C,H,W]`` each, on any device.

    Returns:
        The scale of each value of the trunk, a power of two; empty for a trunk that cannot be lowered, which has none.

    Raises:
        Float16RangeError: float16 does not hold what the trunk gives on these images, or its weights.
    """
    ranges = activation_ranges(net, [image.to(next(net.parameters()).device) for image in images])
    try:
        graph = lower(net, *NOMINAL_SIZE)
    except NotLowerableError as reason:
        check_range(_layers(ranges), f"no scale can be folded in: {reason}")
        return {}
    found = magnitudes(graph, ranges, max((float(image.abs().amax()) for image in images), default=0.0))
    together = _read_by_one_layer(net, graph)
    scales = choose_scales(graph, found, together=together)
    with normal_tensors():
        if any(map(_loses, _scaled_weights(net, graph, scales))):
            scales = choose_scales(graph, found, together=together, always=True)
        check_range({name: magnitude * scales[name] for name, magnitude in found.items()}, UNSCALABLE)
        _fold_into_trunk(net, graph, scales)
        _fold_into_decoders(net, {feature: scales[value] for feature, value in graph.outputs.items()})
    return scales


def check_unscaled(net: FCN, images: Sequence[Tensor]) -> None:
    """See that float16 holds what the trunk's layers give as they are.

    Args:
        net: a reference net in float32 and evaluation mode.
        images: normalised, ``[N,C,H,W]`` each, on any device.

    Raises:
        Float16RangeError: it does not.
    """
    ranges = activation_ranges(net, [image.to(next(net.parameters()).device) for image in images])
    check_range(_layers(ranges), "the eager engine folds no scales in")


def _layers(ranges: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    return {layer: max(largest, -least) for layer, (least, largest) in ranges.items()}


def _scaled_weights(net: FCN, graph: Graph, scales: Mapping[str, float]) -> Iterator[Tensor]:
    """The weights that the convolutions would get."""
    for op in graph:
        if isinstance(op, Convolution):
            yield _times(net.get_parameter(f"{op.layer}.weight").detach(), scales[op.name] / scales[op.source])


def _times(tensor: Tensor, factor: float) -> Tensor:
    return tensor if factor == 1.0 else tensor * factor


def _loses(weight: Tensor) -> bool:
    """Whether float16 takes more from ``weight`` than eleven bits of ordinary numbers lose."""
    error = (weight.half().float() - weight).norm()
    return not bool(error <= LOSS * weight.norm())


def _fold_into_trunk(net: FCN, graph: Graph, scales: Mapping[str, float]) -> None:
    folded: set[str] = set()
    for op in graph:
        if isinstance(op, Convolution) and op.layer not in folded:
            folded.add(op.layer)
            _multiply(net, op.layer, scales[op.name] / scales[op.source], scales[op.name])


def _fold_into_decoders(net: FCN, scales: Mapping[str, float]) -> None:
    """Score layers undo the scales of the features; what their weights cannot take is left to the decoders."""
    gains: dict[str, float] = {}
    for decoder in net.heads.values():
        for score in decoder.scores:
            if score.layer not in gains:
                undone = 1.0 / scales[score.feature]
                gain = gains[score.layer] = _gain(net.get_parameter(f"{score.layer}.weight") * undone)
                _multiply(net, score.layer, undone * gain, gain)
        for stage in decoder.stages:
            layer = stage.skip.layer
            if layer not in gains:
                gains[layer] = _gain(net.get_parameter(f"{layer}.weight"))
                _multiply(net, layer, gains[layer], 1.0)
    net.heads = {name: _rescaled(decoder, scales, gains) for name, decoder in net.heads.items()}


def _gain(weight: Tensor) -> float:
    """The power of two that float16 wants ``weight`` multiplied by; mostly 1."""
    return power_of_two(float(weight.abs().amax()), 0.5, 1.0) if _loses(weight) else 1.0


def _rescaled(decoder: Decoder, scales: Mapping[str, float], gains: Mapping[str, float]) -> Decoder:
    def score(score: Score) -> Score:
        return dataclasses.replace(score, weight=score.weight / gains[score.layer])

    def skip(skip: Skip) -> Skip:
        return dataclasses.replace(skip, scale=skip.scale / (scales[skip.feature] * gains[skip.layer]))

    stages = tuple(dataclasses.replace(stage, skip=skip(stage.skip)) for stage in decoder.stages)
    return dataclasses.replace(decoder, scores=tuple(map(score, decoder.scores)), stages=stages)


def _multiply(net: FCN, name: str, weight: float, bias: float) -> None:
    """Give a layer of ``net`` its weights times ``weight`` and its bias times ``bias``."""
    layer = net.get_submodule(name)
    for part, factor in (("weight", weight), ("bias", bias)):
        tensor = getattr(layer, part)
        if tensor is None:
            continue
        scaled = _times(tensor.detach(), factor)
        if part == "bias":
            scaled = scaled.clamp_min(-FLOAT16_LARGEST)  # of a channel that is dead: it stays so
        if not float(scaled.abs().amax()) <= FLOAT16_LARGEST and bool(tensor.isfinite().all()):
            raise Float16RangeError(
                f"the {part} of {name} reaches {float(scaled.abs().amax()):.3g}, and float16 ends at "
                f"{FLOAT16_LARGEST:.0f}; use dtype='bfloat16'"
            )
        if factor != 1.0:
            setattr(layer, part, nn.Parameter(scaled, requires_grad=False))


def _read_by_one_layer(net: FCN, graph: Graph) -> list[set[str]]:
    """Values that one score layer reads, where it reads several."""
    read: dict[str, set[str]] = {}
    for decoder in net.heads.values():
        scored: tuple[Score | Skip, ...] = (*decoder.scores, *(stage.skip for stage in decoder.stages))
        for each in scored:
            read.setdefault(each.layer, set()).add(graph.outputs[each.feature])
    return list(read.values())
