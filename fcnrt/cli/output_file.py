"""The file that a verb writes: of the right kind, and not over another unasked."""

from __future__ import annotations

from pathlib import Path

from fcnrt.errors import InputError

SUFFIX = ".safetensors"


def check_output(path: Path, *, force: bool) -> None:
    """Refuse a name that promises another kind of file, and one that is taken.

    Raises:
        InputError: it is one of these.
    """
    if path.suffix != SUFFIX:
        raise InputError(f"{path} does not end in {SUFFIX}, which is what is written")
    if path.exists() and not force:
        raise InputError(f"{path} exists; choose another name, or replace it with --force")
