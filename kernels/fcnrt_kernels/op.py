"""What makes four functions an op: a check, a torch twin, an allocation and a launch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from fcnrt_kernels.dispatch import runs_triton


class Op:
    """A torch custom op that launches a Triton kernel where one can run, and calls its torch twin elsewhere.

    All four functions take the op's arguments in the order of its schema; ``launch`` takes the outputs after them.
    The choice is made inside the op, on the tensor at hand: a separate registration for the CPU would hide the
    interpreter, whose tensors live there too.

    Args:
        name: the op's name in the namespace ``torch.ops.fcnrt``.
        schema: its arguments and results, in torch's own notation.
        check: raises ValueError for arguments that the op cannot take.
        twin: the same result in plain torch.
        allocate: empty outputs, also of fake tensors under ``torch.compile`` and ``torch.export``.
        launch: runs the kernel.
    """

    def __init__(
        self,
        name: str,
        schema: str,
        *,
        check: Callable[..., None],
        twin: Callable[..., Any],
        allocate: Callable[..., Any],
        launch: Callable[..., None],
    ) -> None:
        self._check, self._twin, self._launch = check, twin, launch

        def run(*args: Any) -> Any:
            check(*args)
            if not runs_triton(args[0]):
                return _as_allocated(twin(*args), allocate, args)
            out = allocate(*args)
            self._write(_as_tuple(out), args)
            return out

        def write(*args: Any) -> None:
            results = schema.count("Tensor", schema.index("->"))
            self._into(args[-results:], args[:-results])

        self._run = run
        self._op = torch.library.custom_op(f"fcnrt::{name}", run, mutates_args=(), schema=schema)
        self._op.register_fake(allocate)
        names, signature = _writing(schema)
        self._out = torch.library.custom_op(f"fcnrt::{name}_out", write, mutates_args=names, schema=signature)
        self._out.register_fake(lambda *args: None)

    def __call__(self, *args: Any) -> Any:
        """New outputs.

        Through torch's dispatcher where anybody listens there: compile, export, autograd, a mode. A custom op's first
        call imports torch's whole compiler, which would be seconds of waiting for the first label.
        """
        return self._op(*args) if torch.compiler.is_compiling() or _is_listened_to(args) else self._run(*args)

    def into(self, out: Any, *args: Any) -> Any:
        """Write ``out``, without the dispatcher's microseconds. The caller has checked what ``out`` is."""
        if torch.compiler.is_compiling():
            self._out(*args, *_as_tuple(out))  # a launch cannot be traced
        else:
            self._into(_as_tuple(out), args)
        return out

    def _into(self, out: tuple[Any, ...], args: tuple[Any, ...]) -> None:
        self._check(*args)
        if runs_triton(args[0]):
            self._write(out, args)
        else:
            for buffer, result in zip(out, _as_tuple(self._twin(*args)), strict=True):
                buffer.copy_(result)

    def _write(self, out: tuple[Any, ...], args: tuple[Any, ...]) -> None:
        if out[0].numel():  # an empty batch has no grid to launch
            self._launch(*args, *out)


def _is_listened_to(args: tuple[Any, ...]) -> bool:
    """Whether more than values is asked for: a derivative, or what a mode or a kind of tensor notes of each op."""
    if torch._C._len_torch_dispatch_stack():
        return True
    parts = [part for arg in args for part in (arg if isinstance(arg, (list, tuple)) else (arg,))]
    tensors = [part for part in parts if isinstance(part, torch.Tensor)]
    return any(
        type(tensor) not in (torch.Tensor, torch.nn.Parameter) or (tensor.requires_grad and torch.is_grad_enabled())
        for tensor in tensors
    )


def _as_allocated(results: Any, allocate: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """A twin's results as ``allocate`` promises them: torch leaves strides open where a side is 0 or 1."""
    buffers = allocate(*args)
    pairs = list(zip(_as_tuple(buffers), _as_tuple(results), strict=True))
    if all(
        (buffer.dtype, buffer.stride(), 0) == (result.dtype, result.stride(), result.storage_offset())
        for buffer, result in pairs
    ):
        return results
    for buffer, result in pairs:
        buffer.copy_(result)
    return buffers


def _as_tuple(out: Any) -> tuple[Any, ...]:
    return out if isinstance(out, tuple) else (out,)


def _writing(schema: str) -> tuple[tuple[str, ...], str]:
    """The results of ``schema`` as arguments that the op writes: their names, and the schema with them."""
    arguments, _, results = schema.partition(" -> ")
    names = tuple(f"out{index}" for index in range(results.count("Tensor")))
    written = ", ".join(f"Tensor({letter}!) {name}" for letter, name in zip("abc", names, strict=False))
    return names, f"{arguments.removesuffix(')')}, {written}) -> ()"
