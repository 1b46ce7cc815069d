"""From a reference net to a graph: its trunk is called once, on a tensor without values, and what it calls is noted.

So the graph is what the net's own code does, and cannot drift from it. Dropout is left out, ReLU joins the op before
it, and the zeros that the first convolutions add around the image become part of the image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fcnrt.models import FCN
from fcnrt.plan.graph import (
    Addition,
    ChannelSlice,
    Concatenation,
    Convolution,
    Graph,
    Image,
    MaxPool,
    Op,
    Pair,
    Replication,
    ResponseNorm,
)
from fcnrt.plan.halo import Extension, Sliding

IMAGE = "image"


class NotLowerableError(Exception):
    """The trunk does something that no op of a graph stands for; the message says what."""


def lower(net: FCN, height: int, width: int) -> Graph:
    """The trunk of ``net`` for images of ``height`` x ``width``, batch norm folded.

    Args:
        net: a reference net in evaluation mode.
        height: rows of the image; sizes of the graph are those of its ops, at this image size and at others.
        width: columns of the image.

    Raises:
        InputError: the net refuses images of this size.
        NotLowerableError: its trunk does something that a graph cannot hold.
    """
    recorder = _Recorder({id(tensor): name for name, tensor in net.named_parameters()})
    image = torch.empty(1, net.in_channels, height, width, device="meta")
    recorder.put(image, Image(IMAGE, net.in_channels))
    with torch.no_grad(), recorder:
        features = net.features(image)
    outputs = {name: recorder.value(feature) for name, feature in features.items()}
    return _pad_image(Graph(tuple(recorder.ops.values()), outputs))


class _Recorder(TorchFunctionMode):
    """Notes the calls of torch functions instead of making them."""

    def __init__(self, parameters: Mapping[int, str]) -> None:
        super().__init__()
        self.parameters = parameters
        self.ops: dict[str, Op] = {}
        self._values: dict[int, str] = {}
        self._kept: list[Tensor] = []  # an id is unique among living objects only

    def put(self, x: Tensor, op: Op) -> Tensor:
        """``x`` is what ``op`` gives."""
        self.ops[op.name] = op
        return self.name(x, op.name)

    def name(self, x: Tensor, value: str) -> Tensor:
        """``x`` is ``value``."""
        self._values[id(x)] = value
        self._kept.append(x)
        return x

    def value(self, x: Tensor) -> str:
        """The name of what ``x`` is."""
        if id(x) not in self._values:
            raise NotLowerableError(f"a tensor {list(x.shape)} that no known op made")
        return self._values[id(x)]

    def fresh(self, label: str) -> str:
        """A name that no op has yet, beginning with ``label``."""
        name, count = label, 1
        while name in self.ops:
            count += 1
            name = f"{label}.{count}"
        return name

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _CALLS:
            return _CALLS[func](self, *args, **kwargs)
        tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor) and id(x) in self._values]
        if not tensors or getattr(func, "__name__", "") in ("__get__", "size", "dim", "__len__"):
            return func(*args, **kwargs)
        raise NotLowerableError(f"the trunk calls {getattr(func, '__name__', func)}")


def _convolution(
    recorder: _Recorder,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    name = recorder.parameters[id(weight)].removesuffix(".weight")
    if isinstance(padding, str):
        raise NotLowerableError(f"{name} pads by {padding!r}")
    windows = _windows(weight.shape[2:], stride, padding, dilation)
    op = Convolution(recorder.fresh(name), recorder.value(x), name, x.shape[1], weight.shape[0], windows, groups)
    return recorder.put(_made(x, op), op)


def _max_pool(
    recorder: _Recorder,
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    if return_indices:
        raise NotLowerableError("a pool returns its indices")
    windows = _windows(_pair(kernel_size), stride or kernel_size, padding, dilation, ceil_mode)
    source = recorder.ops[recorder.value(x)]
    if not _non_negative(source):
        # Their padding counts as minus infinity; zeros do as well only where nothing is below them.
        raise NotLowerableError(f"a pool reads {source.name}, which may be negative")
    op = MaxPool(recorder.fresh(f"{source.name}.pool"), source.name, x.shape[1], windows)
    return recorder.put(_made(x, op), op)


def _relu(recorder: _Recorder, x: Tensor, inplace: bool = False) -> Tensor:
    op = recorder.ops[recorder.value(x)]
    if not isinstance(op, (Convolution, Addition)) or op is not next(reversed(recorder.ops.values())):
        raise NotLowerableError(f"ReLU does not follow {op.name} directly")
    recorder.ops[op.name] = dataclasses.replace(op, relu=True)
    return x if inplace else recorder.name(torch.empty_like(x), op.name)


def _add(recorder: _Recorder, left: Tensor, right: Tensor) -> Tensor:
    if left.shape != right.shape:
        raise NotLowerableError(f"an addition of {list(left.shape)} and {list(right.shape)}")
    names = recorder.value(left), recorder.value(right)
    op = Addition(recorder.fresh(f"{names[0]}.sum"), *names, left.shape[1])
    return recorder.put(torch.empty_like(left), op)


def _concatenate(recorder: _Recorder, tensors: Any, dim: int = 0) -> Tensor:
    if dim != 1:
        raise NotLowerableError(f"a concatenation along axis {dim}")
    channels = sum(x.shape[1] for x in tensors)
    parts = tuple(recorder.value(x) for x in tensors)
    op = Concatenation(recorder.fresh(f"{parts[0]}.cat"), parts, channels)
    return recorder.put(tensors[0].new_empty(1, channels, *tensors[0].shape[2:]), op)


def _response_norm(recorder: _Recorder, x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    source = recorder.value(x)
    op = ResponseNorm(recorder.fresh(f"{source}.norm"), source, x.shape[1], size, alpha, beta, k)
    return recorder.put(torch.empty_like(x), op)


def _pad(recorder: _Recorder, x: Tensor, pad: Any, mode: str = "constant", value: Any = None) -> Tensor:
    if mode != "replicate" or len(pad) != 4:
        raise NotLowerableError(f"the trunk pads by {mode}")
    left, right, top, bottom = pad
    source = recorder.value(x)
    windows = Extension(top, bottom), Extension(left, right)
    op = Replication(recorder.fresh(f"{source}.extended"), source, x.shape[1], windows)
    return recorder.put(_made(x, op), op)


def _split(recorder: _Recorder, x: Tensor, split_sizes: Any, dim: int = 0) -> tuple[Tensor, ...]:
    if dim != 1:
        raise NotLowerableError(f"a split along axis {dim}")
    if len(split_sizes) == 1:
        return (x,)
    source, first, parts = recorder.value(x), 0, []
    for channels in split_sizes:
        op = ChannelSlice(recorder.fresh(f"{source}.channels"), source, first, channels)
        parts.append(recorder.put(x.new_empty(1, channels, *x.shape[2:]), op))
        first += channels
    return tuple(parts)


def _same(recorder: _Recorder, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if kwargs.get("training"):
        raise NotLowerableError("the net is in training mode")
    return x


_CALLS: Mapping[Any, Callable[..., Any]] = {
    F.conv2d: _convolution,
    torch.conv2d: _convolution,
    F.max_pool2d: _max_pool,
    F.relu: _relu,
    Tensor.__add__: _add,
    Tensor.__iadd__: _add,
    Tensor.add: _add,
    Tensor.add_: _add,
    torch.cat: _concatenate,
    F.local_response_norm: _response_norm,
    F.pad: _pad,
    Tensor.split_with_sizes: _split,
    F.dropout: _same,
    F.dropout2d: _same,
    Tensor.float: _same,
    Tensor.to: _same,
}


def _pair(value: Any) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _windows(kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool = False) -> tuple[Sliding, Sliding]:
    rows, columns = zip(_pair(kernel), _pair(stride), _pair(padding), _pair(dilation), strict=True)
    return Sliding(*rows, ceil=ceil), Sliding(*columns, ceil=ceil)


def _made(x: Tensor, op: Convolution | MaxPool | Replication) -> Tensor:
    """A tensor of the shape that ``op`` gives of ``x``."""
    rows, columns = op.windows[0].length(x.shape[2]), op.windows[1].length(x.shape[3])
    if rows < 1 or columns < 1:
        raise NotLowerableError(f"{op.name} leaves nothing of {x.shape[2]}x{x.shape[3]}")
    return x.new_empty(1, op.channels, rows, columns)


def _non_negative(op: Op) -> bool:
    if isinstance(op, (Convolution, Addition)):
        return op.relu
    return isinstance(op, (MaxPool, Concatenation, ResponseNorm))


def _pad_image(graph: Graph) -> Graph:
    """``graph`` with the zeros around the image made part of it, where all of its readers want the same."""
    ops = {op.name: op for op in graph}
    image = graph.image
    direct = {image.name, *(op.name for op in graph if isinstance(op, ChannelSlice) and op.source == image.name)}
    padded = [op for op in ops.values() if isinstance(op, (Convolution, MaxPool)) and op.source in direct]
    paddings = {(op.windows[0].padding, op.windows[1].padding) for op in padded}
    if len(paddings) != 1 or not all(isinstance(op, Convolution) for op in padded):
        return graph
    for op in padded:
        rows, columns = (dataclasses.replace(window, padding=0) for window in op.windows)
        ops[op.name] = dataclasses.replace(op, windows=(rows, columns))
    ops[image.name] = dataclasses.replace(image, padding=paddings.pop())
    return dataclasses.replace(graph, ops=tuple(ops.values()))
