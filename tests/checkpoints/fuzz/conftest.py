"""The smallest file of every kind, and a reader under guard: of time, of memory, and of anything that it might run."""

from __future__ import annotations

import codecs
import io
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from fcnrt.checkpoints import read_checkpoint, read_state_dict
from fcnrt.errors import CheckpointError
from fcnrt.models.registry import create_skeleton

SECONDS = 2.0
"""Of processor time: other programs on the machine do not count. What these files should take is milliseconds."""

MEMORY = 2**20
"""Bytes of the tensors that come out of files of kilobytes."""

_FORBIDDEN = ("exec", "compile", "import", "os.", "subprocess.", "socket.", "ctypes.", "pickle.", "marshal.", "shutil.")
_PERMITTED = ("os.listdir", "os.scandir")


READ = pytest.StashKey[int]()
"""How many files were read, or refused; ``make fuzz`` says it at its end."""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[READ] = 0


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)  # of a process of pytest-xdist, to the one that reports
    if output is not None:
        output[__name__] = session.config.stash[READ]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[READ] += getattr(node, "workeroutput", {}).get(__name__, 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.stash[READ]:
        terminalreporter.write_line(f"{config.stash[READ]} damaged checkpoints were read or refused")


class TooSlow(BaseException):
    """No reader may take it for an error of the file."""


class _Watch:
    """Forbids whatever the interpreter reports to its auditors, while it is on. (An audit hook cannot be removed.)"""

    def __init__(self) -> None:
        self.path: str | None = None
        self.thread = threading.get_ident()
        self.seen: list[str] = []  # whatever raises here may be caught by what is watched
        sys.addaudithook(self.hook)

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self.path is None or threading.get_ident() != self.thread:
            return
        reading = event == "open" and str(args[0]) == self.path and args[1] in ("r", "rb")
        if (event == "open" and not reading) or (event.startswith(_FORBIDDEN) and event not in _PERMITTED):
            self.seen.append(f"{event} {args!r:.200}")
            raise AssertionError(self.seen[-1])

    @contextmanager
    def on(self, path: Path) -> Iterator[None]:
        self.path = str(path)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self.path = None
            seen, self.seen = self.seen, []
        assert not seen, seen


@pytest.fixture(scope="session")
def watch() -> Iterator[_Watch]:
    if not hasattr(signal, "ITIMER_PROF"):
        pytest.skip("needs a timer of processor time")

    def expired(_: int, frame: FrameType | None) -> None:
        raise TooSlow(f"it takes more than {SECONDS} seconds")

    before = signal.signal(signal.SIGPROF, expired)
    yield _Watch()
    signal.signal(signal.SIGPROF, before)


@pytest.fixture(scope="session")
def survive(
    watch: _Watch, files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Callable[[bytes], None]:
    """Reads a file of these bytes in both ways: there is a result, or an error that names the file; nothing else."""
    path = tmp_path_factory.mktemp("fuzz") / "checkpoint"

    def read(function: Callable[[Path], Any]) -> dict[str, Tensor]:
        try:
            result = function(path)
        except CheckpointError as error:
            text = str(error)
            assert text.startswith(f"{path}: ")
            assert text.isprintable() and len(text) < 3000
            return {}
        state: dict[str, Tensor] = getattr(result, "state_dict", result)
        return state

    def check(content: bytes) -> None:
        path.write_bytes(content)
        pytestconfig.stash[READ] += 1
        for function in (read_state_dict, read_checkpoint):
            with watch.on(path):
                state = read(function)
            assert all(tensor.isfinite().all() for tensor in state.values())
            assert sum(tensor.numel() * tensor.itemsize for tensor in state.values()) <= MEMORY

    # What is imported once, at first use, is imported now.
    for codec in ("raw-unicode-escape", "unicode-escape", "ascii", "latin-1", "cp437"):
        codecs.lookup(codec)
    create_skeleton("fcn8s", 1, width=1 / 512)
    for content in files.values():
        path.write_bytes(content)
        assert len(read_state_dict(path)) == 2
        read(read_checkpoint)
    return check


@pytest.fixture(scope="session")
def files(caffe: Any) -> dict[str, bytes]:
    """Two tensors in every kind of file."""
    net = nn.Sequential(nn.Conv2d(1, 2, 1))
    state = net.state_dict()
    arrays: dict[str, Any] = {key.replace(".", "/"): value.numpy() for key, value in state.items()}
    payload = {"epoch": 2**40, "arch": "FCN8s", "meta": {"CLASSES": ["a", "b"]}, "state_dict": state}
    return {
        "torch zip": _written(lambda file: torch.save(payload, file)),
        "torch legacy": _written(lambda file: torch.save(payload, file, _use_new_zipfile_serialization=False)),
        "module": _written(lambda file: torch.save(net, file)),
        "safetensors": save(state, {"format": "pt"}),
        "npz": _written(lambda file: np.savez(file, **arrays)),
        "npz deflated": _written(lambda file: np.savez_compressed(file, **arrays)),
        "caffemodel": caffe.model(caffe.by_layer(state)),
    }


def _written(write: Callable[[io.BytesIO], Any]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()
