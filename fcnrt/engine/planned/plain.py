"""Ops that torch computes as they are, from the buffers that they read into a view of the one that they write."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from fcnrt.plan.graph import (
    Addition,
    ChannelSlice,
    Concatenation,
    Convolution,
    Image,
    MaxPool,
    Op,
    Replication,
    ResponseNorm,
)
from fcnrt.plan.schedule import Area, Value


def view(buffers: Mapping[str, Tensor], value: Value, area: Area) -> Tensor:
    """``area`` of a value in its buffer, ``[N,h,w,C]``."""
    return buffers[value.op.name][area.index_in(value.stored)]


def run_plain(op: Op, values: Mapping[str, Value], buffers: Mapping[str, Tensor], x: Tensor, out: Tensor) -> None:
    """Compute ``op``, which is no convolution.

    Args:
        op: what to compute.
        values: of the schedule.
        buffers: ``[N,h,w,C]``, those that the op reads.
        x: the normalised images, ``[N,C,H,W]``.
        out: where to write, ``[N,h,w,C]``, without the ring.
    """
    area = values[op.name].computed

    def read(name: str, area: Area = area) -> Tensor:
        return view(buffers, values[name], area)

    if isinstance(op, Image):
        out.copy_(x.permute(0, 2, 3, 1))
    elif isinstance(op, MaxPool):
        out.copy_(pool(op, read(op.source, reading_area(op, area)), ceil=False))
    elif isinstance(op, Addition):
        add(op, read(op.left), read(op.right), out)
    elif isinstance(op, Concatenation):
        first = 0
        for part in op.parts:
            source = read(part)
            out[..., first : first + source.shape[3]].copy_(source)
            first += source.shape[3]
    elif isinstance(op, ResponseNorm):
        source = read(op.source).permute(0, 3, 1, 2)
        # In float32 at least: squares of activations leave float16.
        precise = source if source.dtype == torch.float64 else source.float()
        normed = F.local_response_norm(precise, op.size, alpha=op.alpha, beta=op.beta, k=op.k)
        out.copy_(normed.permute(0, 2, 3, 1))
    elif isinstance(op, Replication):
        whole = read(op.source, values[op.source].whole).permute(0, 3, 1, 2)
        rows, columns = op.windows
        extended = F.pad(whole, (columns.before, columns.behind, rows.before, rows.behind), mode="replicate")
        out.copy_(extended.permute(0, 2, 3, 1)[area.index_in(values[op.name].whole)])
    else:
        assert isinstance(op, ChannelSlice), op
        out.copy_(read(op.source)[..., op.first : op.first + op.channels])


def reading_area(op: Convolution | MaxPool, area: Area) -> Area:
    """What ``area`` of the result is made of."""
    rows, columns = op.windows
    return Area(rows.reading(area.rows), columns.reading(area.columns))


def pool(op: MaxPool, x: Tensor, *, ceil: bool) -> Tensor:
    """``[N,h,w,C]`` to ``[N,h',w',C]``, without padding; with ``ceil`` the last window may be cut off."""
    rows, columns = op.windows
    y = F.max_pool2d(
        x.permute(0, 3, 1, 2),
        (rows.kernel, columns.kernel),
        (rows.stride, columns.stride),
        dilation=(rows.dilation, columns.dilation),
        ceil_mode=ceil,
    )
    return y.permute(0, 2, 3, 1)


def add(op: Addition, left: Tensor, right: Tensor, out: Tensor) -> None:
    """The sum, which may be written over one of its parts."""
    torch.add(left, right, out=out)
    if op.relu:
        out.clamp_min_(0)
