"""Which 16-bit type keeps a net's labels: measured on images, before anything is packed.

Nothing is compiled for it, and nothing runs in a type that is slow on this device: the reference net computes in
float32, and each result is rounded to the type, as the engine rounds what it writes to memory. Sums are float32 in
both.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fcnrt.engine.placement import Placement
from fcnrt.engine.scaling import check_unscaled, fold_scales
from fcnrt.models import FCN
from fcnrt.models.batchnorm import fold_batchnorm
from fcnrt.plan.scales import Float16RangeError

COMPARED = 2
"""Images on which types are compared, of those that calibrate."""

WEIGHTED = (F.conv2d, torch.conv2d, F.conv_transpose2d)


@dataclass(frozen=True, order=True)
class Agreement:
    """How near a type comes to float32; the larger the nearer.

    Args:
        labels: share of equal labels.
        nearness: minus the largest difference of a logit, relative to the largest logit.
    """

    labels: float
    nearness: float

    @property
    def percent(self) -> str:
        """Of the labels, rounded down: 100 says that no label differs."""
        return f"{math.floor(10_000 * self.labels) / 100:.2f} %"


def decide_dtype(net: FCN, placement: Placement, engine: str, images: Sequence[Tensor]) -> Placement:
    """``placement`` with the type that keeps the labels of ``net`` better, where that is open.

    Args:
        net: a reference net in float32 with its weights; it is moved to the device, and otherwise stays as it is.
        placement: as chosen without a net.
        engine: ``"fused"`` folds scales into a float16 net, ``"eager"`` runs it as it is.
        images: normalised, ``[N,C,H,W]`` each. Without any the type is the placement's.

    Raises:
        Float16RangeError: float16 was asked for, the engine is the eager one, and it does not hold the net's numbers.
            (The fused engine itself says so of a net that it packs.)
    """
    if not images or placement.dtype == torch.int8 or not placement.calibrated:
        return dataclasses.replace(placement, undecided=())
    net = net.eval().requires_grad_(False).to(placement.device)
    shown = [image.to(placement.device) for image in images]
    if not placement.undecided:
        if engine == "eager":
            check_unscaled(net, shown)
        return placement
    found: dict[torch.dtype, Agreement] = {}
    refusals = ""
    for dtype in placement.undecided:
        try:
            found[dtype] = measure_agreement(net, dtype, engine, shown)
        except Float16RangeError as error:
            refusals += f"; not {_name(dtype)}: {error}"
    best, *others = sorted(found, key=found.__getitem__, reverse=True)
    won = found[best]
    reason = (
        f"{placement.reason}; {_name(best)} keeps {won.percent} of float32's labels on "
        f"{min(COMPARED, len(shown))} calibration images and logits within {-won.nearness:.1e}"
    )
    for dtype in others:
        reason += f", {_name(dtype)} {found[dtype].percent} and {-found[dtype].nearness:.1e}"
    return dataclasses.replace(placement, dtype=best, undecided=(), reason=reason + refusals)


@torch.no_grad()
def measure_agreement(net: FCN, dtype: torch.dtype, engine: str, images: Sequence[Tensor]) -> Agreement:
    """How near ``net`` comes to float32 where its numbers are kept in ``dtype``.

    Args:
        net: a reference net in float32 and evaluation mode, which stays as it is.
        dtype: a 16-bit type.
        engine: as for :func:`decide_dtype`.
        images: normalised, ``[N,C,H,W]`` each, on the net's device: all calibrate, the first few are compared.

    Raises:
        Float16RangeError: float16 does not hold the net's numbers.
    """
    run = _rounded_fused(net, dtype, images) if engine == "fused" else _rounded_eager(net, dtype)
    equal = total = 0
    difference = largest = 0.0
    with _full_precision():
        for image in images[:COMPARED]:
            for expected, found in zip(_heads(net(image)), _heads(run(image)), strict=True):
                if not found.isfinite().all() and expected.isfinite().all():
                    raise Float16RangeError(f"logits of {_name(dtype)} are not finite; use dtype='float32'")
                equal += int((found.argmax(dim=1) == expected.argmax(dim=1)).sum())
                total += expected.numel() // expected.shape[1]
                difference = max(difference, float((found - expected).abs().amax()))
                largest = max(largest, float(expected.abs().amax()))
    error = difference / largest if largest else 0.0
    return Agreement(equal / total, -error if math.isfinite(error) else -math.inf)


def _rounded_fused(net: FCN, dtype: torch.dtype, images: Sequence[Tensor]) -> Callable[[Tensor], Any]:
    """``net`` as the fused engine runs it: its trunk and the weights of its skips in ``dtype``, scores in float32."""
    net = _with_own_modules(net)
    fold_batchnorm(net)
    if dtype == torch.float16:
        fold_scales(net, images)
    for decoder in net.heads.values():
        for stage in decoder.stages:
            layer = net.get_submodule(stage.skip.layer)
            assert isinstance(layer.weight, Tensor)
            layer.weight = nn.Parameter(_round(layer.weight, dtype), requires_grad=False)
    features = net.features

    def rounded(x: Tensor) -> dict[str, Tensor]:
        with _Rounding(dtype):
            return features(_round(x, dtype))

    net.features = rounded  # type: ignore[method-assign]
    return net


def _rounded_eager(net: FCN, dtype: torch.dtype) -> Callable[[Tensor], Any]:
    """``net`` as the eager engine runs it: everything in ``dtype``."""

    def run(x: Tensor) -> Any:
        with _Rounding(dtype):
            return net(_round(x, dtype))

    return run


class _Rounding(TorchFunctionMode):
    """Every result, and the weights of every convolution, as ``dtype`` keeps them."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in WEIGHTED:
            args = (args[0], _round(args[1], self.dtype), *args[2:])
        y = func(*args, **(kwargs or {}))
        return _round(y, self.dtype) if isinstance(y, Tensor) and y.dtype == torch.float32 else y


def _round(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype).float()


def _with_own_modules(net: FCN) -> FCN:
    """A copy of ``net`` that shares its tensors."""
    return copy.deepcopy(net, {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())})


def _heads(outputs: Any) -> list[Tensor]:
    return list(outputs.values()) if isinstance(outputs, dict) else [outputs]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@contextmanager
def _full_precision() -> Iterator[None]:
    """Convolutions in float32 itself, not in TF32, which torch allows them at first."""
    # Of torch's two interfaces this one also reads what the older one set; the other way round it raises.
    settings = torch.backends.cudnn.conv  # type: ignore[attr-defined]  # torch puts it there at run time
    before = settings.fp32_precision
    settings.fp32_precision = "ieee"
    try:
        yield
    finally:
        settings.fp32_precision = before
