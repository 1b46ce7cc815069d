"""Imports run one way, and fcnrt can be imported where Triton or a GPU is missing."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# What each part of fcnrt may import of the others. A part is a module or package right under fcnrt/, "fcnrt"
# itself (its __init__), the kernels, or a __main__, which nothing imports. A new part finds its place here first.
_READING = {"errors", "imagefiles", "images", "palettes", "preprocessing", "rgb", "spec"}
_RUNNING = {"engine", "fcnrt_kernels", "models", "plan"}
_USING = {"checkpoints", "convolutionalization", "legend", "loading", "pretrained", "segmentation", "segmenter"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "fcnrt_kernels": set(),
    "palettes": {"errors"},
    "preprocessing": {"errors"},
    "imagefiles": {"errors"},
    "rgb": {"errors"},
    "images": {"errors", "imagefiles", "rgb"},
    "models": {"errors"},
    "spec": {"errors", "palettes", "preprocessing"},
    "legend": {"errors"},
    "segmentation": {"errors", "imagefiles", "images", "legend", "palettes"},
    "checkpoints": _READING | {"models"},
    "pretrained": {"errors", "palettes", "preprocessing"},
    "plan": {"errors", "fcnrt_kernels", "models"},
    "engine": {"errors", "fcnrt_kernels", "models", "plan", "preprocessing"},
    "batches": set(),
    "calibration": {"demo", "engine", "errors", "images", "preprocessing", "rgb"},
    "pipeline": _READING | {"batches", "engine", "segmentation"},
    "segmenter": _READING | _RUNNING | {"calibration", "pipeline", "segmentation"},
    "loading": _READING | _RUNNING | {"calibration", "checkpoints", "pretrained", "segmenter"},
    "measuring": _READING | _RUNNING | {"segmenter"},
    "metrics": {"errors"},
    "convolutionalization": _READING | _RUNNING | {"checkpoints", "loading", "segmenter"},
    "demo": _READING | _RUNNING | _USING | {"fcnrt", "metrics"},
    "fcnrt": _READING | _USING,
    "cli": _READING | _RUNNING | _USING | {"calibration", "demo", "fcnrt", "measuring"},
    "__main__": {"cli"},
    "demo.__main__": _READING | _USING | {"cli", "demo", "fcnrt"},
}
# Of the kernel package: it could be lifted out as it is, and its compiled half needs Triton alone.
KERNELS_MAY_IMPORT = {"fcnrt_kernels", "torch", "triton"} | sys.stdlib_module_names
JIT_MAY_IMPORT = {"fcnrt_kernels.jit", "triton"}

SOURCES = sorted([*ROOT.glob("fcnrt/**/*.py"), *ROOT.glob("kernels/**/*.py")])


def _imports(path: Path) -> set[str]:
    """Dotted names of the modules that a file imports anywhere, also inside functions and for types alone."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; fcnrt spells its imports out"
            assert node.module is not None
            # `from fcnrt import demo` imports a module, `from fcnrt import load` a name: see what is on disk.
            names |= {_module(node.module, alias.name) for alias in node.names}
    return names


def _module(package: str, name: str) -> str:
    for top in (ROOT, ROOT / "kernels"):
        member = top.joinpath(*package.split("."), name)
        if member.is_dir() or member.with_suffix(".py").is_file():
            return f"{package}.{name}"
    return package


def _part(module: str) -> str | None:
    top, _, rest = module.partition(".")
    if top == "fcnrt":
        return rest if rest.endswith("__main__") else rest.split(".")[0] or "fcnrt"
    return top if top == "fcnrt_kernels" else None


def _name(path: Path) -> str:
    base = ROOT / "kernels" if path.is_relative_to(ROOT / "kernels") else ROOT
    return ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_imports_point_down(path: Path) -> None:
    part = _part(_name(path))
    assert part in MAY_IMPORT, f"{_name(path)}: add {part!r} to MAY_IMPORT, and say what it may import"
    parts = {_part(module) for module in _imports(path)} - {None, part}
    assert parts <= MAY_IMPORT[part]


@pytest.mark.parametrize("path", [path for path in SOURCES if ROOT / "kernels" in path.parents], ids=_name)
def test_kernels_stand_alone(path: Path) -> None:
    imports = _imports(path) - {"__future__"}
    if path.parent.name == "jit":
        assert {module for module in imports if not module.startswith(tuple(JIT_MAY_IMPORT))} == set()
    else:
        assert {module for module in imports if module.split(".")[0] not in KERNELS_MAY_IMPORT} == set()


def _python(code: str, *arguments: str | Path) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


# `import triton` raises ModuleNotFoundError and `find_spec` finds nothing, as where it was never installed.
_BLOCK_TRITON = "import sys; sys.modules['triton'] = None\n"


def test_import_starts_neither_triton_nor_cuda() -> None:
    output = _python(
        "import sys, fcnrt, fcnrt_kernels, torch\nprint('triton.language' in sys.modules, torch.cuda.is_initialized())"
    )
    assert output.split() == ["False", "False"]


def test_cpu_path_without_triton(tmp_path: Path) -> None:
    output = _python(
        _BLOCK_TRITON + "import fcnrt, torch\n"
        "from fcnrt.models import create_model\n"
        "torch.save(create_model('fcn8s', 5, width=1 / 16).state_dict(), sys.argv[1])\n"
        "model = fcnrt.load(sys.argv[1])\n"
        "print(tuple(model.predict_labels(torch.zeros(2, 3, 33, 47)).shape))",
        tmp_path / "fcn8s.pt",
    )
    assert output.strip() == "(2, 33, 47)"
