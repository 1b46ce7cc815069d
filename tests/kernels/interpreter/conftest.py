"""Running an op in the interpreter such that its Triton kernel, and nothing else, can have made the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import pytest
import torch
from torch import Tensor

from fcnrt_kernels import reference

MARGIN = 2
"""Elements of canary on each side of a guarded output."""


class Run(Protocol):
    def __call__(self, kernel_names: str | Sequence[str], op: Callable[..., Any], *args: Any, **kwargs: Any) -> Any: ...


class Guarded:
    """Output buffers inside larger ones: poisoned where the op must write, canaries where it must not."""

    def __init__(self) -> None:
        self._guarded: list[tuple[Tensor, Tensor, float]] = []

    def __call__(self, shape: Sequence[int], dtype: torch.dtype, *, last: bool = False, poison: float) -> Tensor:
        """A buffer of ``shape`` with gaps between its columns; ``last`` puts the channels, or rows, innermost."""
        order = [0, *range(2, len(shape)), 1] if last else list(range(len(shape)))
        padded = [shape[axis] + 2 * MARGIN for axis in order]
        padded[-1] += shape[order[-1]]
        around = torch.full(padded, 99, dtype=dtype)
        inside = [slice(MARGIN, MARGIN + shape[axis]) for axis in order]
        inside[-1] = slice(MARGIN, MARGIN + 2 * shape[order[-1]], 2)
        out = around[tuple(inside)].permute([order.index(axis) for axis in range(len(shape))])
        out.fill_(poison)
        self._guarded.append((around, out, poison))
        return out

    def check(self) -> None:
        for around, out, poison in self._guarded:
            assert tuple(out.shape), "nothing is guarded"
            left = out.isnan() if poison != poison else out == poison
            assert not left.any(), f"{int(left.sum())} of {out.numel()} outputs were never written"
            out.fill_(99)
            assert bool((around == 99).all()), "something outside the output was written"


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    """Makes output buffers, and checks at the end that they were written, whole and alone."""
    guarded = Guarded()
    yield guarded
    guarded.check()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Calls an op with its twin poisoned, and asserts that the kernels named, and no others, were launched."""
    from triton.runtime.interpreter import GridExecutor

    def run(kernel_names: str | Sequence[str], op: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        launched: list[str] = []
        execute = GridExecutor.__call__

        def record(executor: Any, *args: Any, **kwargs: Any) -> Any:
            launched.append(executor.fn.__name__)
            return execute(executor, *args, **kwargs)

        def refuse(x: Tensor) -> Tensor:
            raise AssertionError("the torch twin was called; the kernel should have been")

        with monkeypatch.context() as patch:
            patch.setattr(GridExecutor, "__call__", record)
            patch.setattr(reference, "_upcast", refuse)  # every twin begins with it
            result = op(*args, **kwargs)
        assert launched == ([kernel_names] if isinstance(kernel_names, str) else [*kernel_names])
        return result

    return run


@pytest.fixture
def only_phases(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[int]], None]:
    """Makes dense kernels run some of their programs only: a stride of 32 has 1024 phases, at 0.1 s each."""
    from triton.runtime.interpreter import interpreter_builder

    from fcnrt_kernels import launch

    def only_phases(phases: Sequence[int]) -> None:
        def set_grid_idx(x: int, y: int, z: int) -> None:
            interpreter_builder.grid_idx = (phases[x], y, z)

        monkeypatch.setattr(launch, "phase_blocks", lambda *args: len(phases))
        monkeypatch.setattr(interpreter_builder, "set_grid_idx", set_grid_idx)

    return only_phases
