"""Wheel, sdist and editable install, each in a fresh environment, imported at the root and elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OFFLINE = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation")

pytestmark = pytest.mark.slow


def _run(command: list[str | Path], *, cwd: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel built from it."""
    dist = tmp_path_factory.mktemp("dist")
    _run([sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, ROOT], cwd=dist)
    return dist


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """Python of a new virtual environment, which borrows torch and the rest from the one that runs this."""
    venv.create(tmp_path / "a venv", symlinks=True)
    python = tmp_path / "a venv" / "bin" / "python"
    site = _run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], cwd=tmp_path).strip()
    lenders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    Path(site, "borrowed.pth").write_text("\n".join(sorted(lenders)), encoding="utf-8")
    return python


def _sole(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def test_wheel_holds_what_it_needs_and_no_more(dist: Path) -> None:
    wheel = _sole(dist, "*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"fcnrt/py.typed", "fcnrt_kernels/py.typed"} <= names
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"fcnrt", "fcnrt_kernels"}
    data = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "fcnrt" / "demo" / "data").rglob("*") if path.is_file()
    }
    assert any(name.endswith(".safetensors") for name in data)
    assert data <= names
    assert wheel.stat().st_size < 16 << 20


def test_sdist_can_be_tested(dist: Path) -> None:
    with tarfile.open(_sole(dist, "*.tar.gz")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {
        "Makefile",
        "constraints.txt",
        "LICENSE",
        "README.md",
        "docs/checkpoints.md",
        "tests/conftest.py",
        "fcnrt/__init__.py",
    }
    assert expected <= names
    assert not any(name.startswith(("benchmarks/results/", ".venv", "demo/")) for name in names)


@pytest.mark.parametrize("source", ["*.whl", "*.tar.gz", "editable"])
def test_install(source: str, dist: Path, python: Path, tmp_path: Path) -> None:
    target: list[str | Path] = ["--editable", ROOT] if source == "editable" else [_sole(dist, source)]
    _run([python, "-m", "pip", "install", *OFFLINE, *target], cwd=tmp_path)

    about = (
        "import importlib.metadata, fcnrt, fcnrt_kernels\n"
        "print(fcnrt.__file__, fcnrt_kernels.__file__, sep='\\n')\n"
        "print(fcnrt.__version__, importlib.metadata.version('fcnrt'), sep='\\n')"
    )
    installed = ROOT if source == "editable" else python.parent.parent
    package, kernels, version, metadata = _run([python, "-c", about], cwd=tmp_path).splitlines()
    assert Path(package).is_relative_to(installed)
    assert Path(kernels).is_relative_to(installed)
    assert metadata == version
    # In the repository's root its own fcnrt/ comes first, and has to find the installed kernels.
    package, kernels, *_ = _run([python, "-c", about], cwd=ROOT).splitlines()
    assert Path(package).is_relative_to(ROOT)
    assert Path(kernels).is_relative_to(installed)

    assert _run([python.parent / "fcnrt", "--version"], cwd=tmp_path).split() == ["fcnrt", version]
