"""How published programs name the parameters of their networks: one row per program, and which row a file fits.

A row says how its files are recognised, how its names become the canonical ones (those of ``fcnrt.models``), which
architectures the tensors can be, and what the file leaves unsaid. A new program is a new row, in ``rows_*.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fcnrt.checkpoints.layout import Layout, lacking
from fcnrt.checkpoints.rows_caffe import CAFFE_LAYOUTS
from fcnrt.checkpoints.rows_refused import REFUSED
from fcnrt.checkpoints.rows_resnet import RESNET_LAYOUTS
from fcnrt.checkpoints.rows_stretched import STRETCHED_LAYOUTS
from fcnrt.checkpoints.rows_vgg import VGG_LAYOUTS
from fcnrt.checkpoints.stored import StoredTensor
from fcnrt.checkpoints.wording import counted, few
from fcnrt.errors import CheckpointError

LAYOUTS: tuple[Layout, ...] = (*REFUSED, *CAFFE_LAYOUTS, *VGG_LAYOUTS, *RESNET_LAYOUTS, *STRETCHED_LAYOUTS)
"""In the order in which they are tried."""

PREFIXES: tuple[str, ...] = (
    "model.",
    "net.",
    "network.",
    "module.",
    "ema.",
    "model_ema.",
    "updater/model:main/",
    "predictor/",
)
"""Names under which programs around the network keep it: Lightning's modules, averaged weights, chainer's trainer."""

COMPANIONS: tuple[str, ...] = ("criterion", "loss", "loss_fn", "metric", "metrics", "model_ema", "ema", "teacher")
"""What else they keep beside it, and inference does not need."""

_MAX_PREFIXES = 4


@dataclass(frozen=True)
class Found:
    """A layout, the tensors that are its, the prefix that was taken off them, and what was left beside them."""

    layout: Layout
    tensors: Mapping[str, StoredTensor]
    prefix: str = ""
    notes: tuple[str, ...] = ()


def find_layout(tensors: Mapping[str, StoredTensor]) -> Found:
    """The row that the tensors' names and shapes fit, if need be without a prefix that all of the network's have.

    Raises:
        CheckpointError: None does, or they are known to be something else.
    """
    inner, prefix, left_out = tensors, "", 0
    for _ in range(_MAX_PREFIXES + 1):
        for layout in LAYOUTS:
            if not lacking(layout.signature, inner):
                if layout.refusal:
                    raise CheckpointError(f"it is {layout.refusal}")
                notes = (f"left out: {counted(left_out, 'tensor')} beside {prefix!r}",) if left_out else ()
                return Found(layout, inner, prefix, notes)
        step, rest = _split(inner)
        if not step:
            break
        prefix, left_out = prefix + step, left_out + len(rest)
        inner = {key.removeprefix(step): tensor for key, tensor in inner.items() if key not in rest}
    raise CheckpointError(_unknown(tensors))


def _split(tensors: Mapping[str, StoredTensor]) -> tuple[str, list[str]]:
    """A prefix that is not the network's own, and the keys without it; none if others than companions lack it."""
    for prefix in PREFIXES:
        rest = [key for key in tensors if not key.startswith(prefix)]
        if len(rest) < len(tensors) and all(key.partition(".")[0] in COMPANIONS for key in rest):
            return prefix, rest
    return "", []


def _unknown(tensors: Mapping[str, StoredTensor]) -> str:
    # Of rows equally near, the first is the likeliest.
    known = (*VGG_LAYOUTS, *RESNET_LAYOUTS, *STRETCHED_LAYOUTS, *CAFFE_LAYOUTS)
    absent = [(layout, lacking(layout.signature, tensors)) for layout in known]
    nearest, missing = min(absent, key=lambda pair: (len(pair[1]) / len(pair[0].signature), len(pair[1])))
    hint = ""
    if len(missing) < len(nearest.signature):
        hint = f". The nearest is {nearest.name}, but {' and '.join(missing)}"
    return (
        f"its {len(tensors)} tensors ({few(tensors)}) are no network that fcnrt knows; expected the names of "
        f"{', '.join(dict.fromkeys(layout.name for layout in known))}{hint}"
    )
