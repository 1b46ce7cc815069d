"""Compile a kernel for a GPU that is not here, and see what it takes: registers, spills, shared memory, instructions.

Needs Triton and the NVIDIA tools that its Linux wheel ships with; no GPU and no driver.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction
from triton.tools.tensor_descriptor import TensorDescriptor

from fcnrt_kernels.conv_config import SHARED_MEMORY

_TYPES = {
    torch.float32: "fp32",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float8_e4m3fn: "fp8e4nv",
    torch.float8_e5m2: "fp8e5",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.int8: "i8",
    torch.uint8: "u8",
}

_MATRIX_INSTRUCTION = re.compile(r"\b(tcgen05\.mma|wgmma\.mma_async|mma\.sync)\b")


@dataclass(frozen=True)
class CompiledKernel:
    """What a kernel became on one kind of GPU."""

    name: str
    capability: int
    """of the target: 90 is sm_90"""
    registers: int
    """of one thread"""
    spill_bytes: int
    """of one thread: local memory, where registers go that do not fit, and arrays indexed at run time"""
    shared_bytes: int
    """of one block"""
    warps: int
    """of one block, with those that warp specialisation adds"""
    ptx: str
    ttgir: str = ""
    """Triton's own form of the kernel, in which layouts and moves between memories can be seen"""

    @property
    def matrix_instructions(self) -> frozenset[str]:
        """Which of ``mma.sync``, ``wgmma.mma_async`` and ``tcgen05.mma`` it uses: none means no tensor cores."""
        return frozenset(_MATRIX_INSTRUCTION.findall(self.ptx))

    @property
    def fits(self) -> bool:
        """Whether its shared memory is within the target's limit."""
        return self.shared_bytes <= SHARED_MEMORY[self.capability]

    def assembler_messages(self) -> str:
        """What ptxas has to say, such as that it makes asynchronous matrix instructions wait for one another.

        Raises:
            RuntimeError: ptxas fails.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "kernel.ptx")
            with open(path, "w", encoding="utf-8") as file:
                file.write(self.ptx)
            target = f"--gpu-name=sm_{self.capability}{'a' if self.capability >= 90 else ''}"
            command = [triton.knobs.nvidia.ptxas.path, "--verbose", target, path, f"--output-file={path}.cubin"]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            raise RuntimeError(f"{command[0]} fails: {run.stderr.strip()!r}")
        return run.stderr


def compile_kernel(
    kernel: JITFunction[Any],
    capability: int,
    arguments: Mapping[str, str],
    constants: Mapping[str, object],
    *,
    num_warps: int = 4,
    num_stages: int = 3,
    maxnreg: int | None = None,
) -> CompiledKernel:
    """Compile ``kernel`` for ``sm_<capability>``.

    Args:
        kernel: a function under ``@triton.jit``, defined with the interpreter off.
        capability: a key of ``SHARED_MEMORY``.
        arguments: the type of each argument in Triton's notation, with the specialisation that a launch would find
            after a colon: ``"*bf16:16"`` is a pointer to bfloat16 whose address is a multiple of 16, ``"i32:16"``
            an integer that is, ``"i32:1"`` one that is 1 and no longer passed, ``"i32"`` any other, and
            ``"tensordesc<bf16[1, 64]>"`` a descriptor of boxes of 1 x 64.
        constants: a value for each ``tl.constexpr`` argument.
        num_warps, num_stages, maxnreg: as in a launch.

    Raises:
        ValueError: the arguments are not those of the kernel, or the target is unknown.
        RuntimeError: the kernel is one of the interpreter, or an NVIDIA tool is missing or fails.
        triton.CompilationError: Triton cannot compile it.
    """
    if not isinstance(kernel, JITFunction):
        raise RuntimeError(f"{kernel!r} is no compiled kernel; expected TRITON_INTERPRET to be off")
    if capability not in SHARED_MEMORY:
        known = ", ".join(map(str, SHARED_MEMORY))
        raise ValueError(f"capability {capability} is unknown; expected one of {known}")
    source = _source(kernel, arguments, constants)
    options = {"num_warps": num_warps, "num_stages": num_stages, "maxnreg": maxnreg}
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    registers, spill_bytes = _resource_usage(compiled.asm["cubin"])
    return CompiledKernel(
        name=kernel.__name__,
        capability=capability,
        registers=registers,
        spill_bytes=spill_bytes,
        shared_bytes=compiled.metadata.shared,
        warps=compiled.metadata.num_warps,
        ptx=compiled.asm["ptx"],
        ttgir=compiled.asm["ttgir"],
    )


@dataclass(frozen=True)
class Launch:
    """A launch that was written down instead of made."""

    kernel: JITFunction[Any]
    arguments: Mapping[str, str]
    constants: Mapping[str, object]
    options: Mapping[str, int]

    def compile(self, capability: int) -> CompiledKernel:
        """``compile_kernel`` of what would have been launched."""
        return compile_kernel(self.kernel, capability, self.arguments, self.constants, **self.options)


@contextlib.contextmanager
def recorded_launches() -> Iterator[list[Launch]]:
    """Within it Triton writes launches down, in order, and makes none: tensors may lie on the CPU."""
    launches: list[Launch] = []

    def run(kernel: JITFunction[Any], *values: Any, grid: Any, warmup: bool, **keywords: Any) -> None:
        constants = {name: value for name, value in keywords.items() if name in kernel.arg_names}
        options = {name: value for name, value in keywords.items() if name not in kernel.arg_names}
        names = [name for name in kernel.arg_names if name not in constants]
        arguments = dict(zip(names, map(argument_type, values), strict=True))
        for parameter in kernel.params:
            if parameter.do_not_specialize and parameter.name in arguments:
                arguments[parameter.name] = arguments[parameter.name].partition(":")[0]
        launches.append(Launch(kernel, arguments, constants, options))

    original = JITFunction.run
    JITFunction.run = run
    try:
        yield launches
    finally:
        JITFunction.run = original


def argument_type(value: torch.Tensor | TensorDescriptor | int | float) -> str:
    """The type of an argument of a launch as ``compile_kernel`` wants it, specialised as Triton specialises it.

    Raises:
        ValueError: a tensor of a type that kernels do not take.
    """
    if isinstance(value, TensorDescriptor):
        return f"tensordesc<{_TYPES[value.base.dtype]}{[*value.block_shape]}>"
    if isinstance(value, torch.Tensor):
        if value.dtype not in _TYPES:
            raise ValueError(f"a tensor is {value.dtype}; expected one of {', '.join(map(str, _TYPES))}")
        return f"*{_TYPES[value.dtype]}{'' if value.data_ptr() % 16 else ':16'}"
    if isinstance(value, float):
        return "fp32"
    kind = "i32" if -(1 << 31) <= value < 1 << 31 else "i64"
    return f"{kind}:1" if value == 1 else kind if value % 16 else f"{kind}:16"


def table(kernels: Sequence[CompiledKernel]) -> str:
    """One line a kernel, as Markdown."""
    return "\n".join(_rows(kernels))


def _rows(kernels: Sequence[CompiledKernel]) -> Iterator[str]:
    yield "| kernel | target | registers | spilled bytes | shared bytes | warps | tensor cores |"
    yield "|---|---|---|---|---|---|---|"
    for k in kernels:
        instructions = ", ".join(sorted(k.matrix_instructions)) or "none"
        yield (
            f"| {k.name} | sm_{k.capability} | {k.registers} | {k.spill_bytes} | {k.shared_bytes} | {k.warps} | "
            f"{instructions} |"
        )


def _source(kernel: JITFunction[Any], arguments: Mapping[str, str], constants: Mapping[str, object]) -> ASTSource:
    """The kernel as a launch with such arguments would hand it to the compiler."""
    given, expected = {**arguments, **constants}, set(kernel.arg_names)
    if set(given) != expected or set(arguments) & set(constants):
        missing, unknown = sorted(expected - set(given)), sorted(set(given) - expected)
        raise ValueError(
            f"{kernel.__name__} lacks {missing or 'nothing'} and does not take {unknown or 'anything else'}; "
            f"expected each of its arguments once, with a type or with a value"
        )
    signature, values, attributes = {}, dict(constants), {}
    for position, name in enumerate(kernel.arg_names):
        kind, _, specialisation = arguments.get(name, "constexpr").partition(":")
        if specialisation == "1":
            kind, values[name] = "constexpr", 1
        elif specialisation == "16":
            attributes[(position,)] = [["tt.divisibility", 16]]
        elif specialisation:
            raise ValueError(f"{name} is {arguments[name]!r}; expected nothing, 1 or 16 after the colon")
        signature[name] = kind
    return ASTSource(kernel, signature, values, attributes)


def _resource_usage(cubin: bytes) -> tuple[int, int]:
    """Registers, and bytes of local memory, of one thread."""
    tool = triton.knobs.nvidia.cuobjdump.path
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "kernel.cubin")
        with open(path, "wb") as file:
            file.write(cubin)
        run = subprocess.run([tool, "--dump-resource-usage", path], capture_output=True, text=True, check=False)
    found = re.search(r"\bREG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", run.stdout)
    if found is None:
        raise RuntimeError(f"{tool} says nothing of registers: {(run.stdout + run.stderr).strip()!r}")
    registers, stack, local = map(int, found.groups())
    return registers, max(stack, local)
