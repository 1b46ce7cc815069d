"""All published files by name."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from types import MappingProxyType

from fcnrt.errors import InputError
from fcnrt.pretrained import caffe_files, drive_files, openmmlab_files, torchvision_files
from fcnrt.pretrained.entry import Pretrained

REGISTRY: Mapping[str, Pretrained] = MappingProxyType(
    {
        entry.name: entry
        for module in (torchvision_files, drive_files, caffe_files, openmmlab_files)
        for entry in module.FILES
    }
)

_SUGGESTIONS = 3


def find(name: str) -> Pretrained:
    """The published file of that name.

    Raises:
        InputError: No file has that name; the message offers those that look like it.
    """
    entry = REGISTRY.get(name)
    if entry is None:
        begin_so = [known for known in REGISTRY if known.startswith(name)][:_SUGGESTIONS]
        close = begin_so or difflib.get_close_matches(name, REGISTRY, n=_SUGGESTIONS)
        offer = f"did you mean {' or '.join(close)}? " if close else ""
        raise InputError(f"no published file is called {name!r}; {offer}`fcnrt pull --list` names them all")
    return entry


def is_name(text: object) -> bool:
    """Whether ``text`` names a published file, rather than a file on this disk: an existing file goes first."""
    return isinstance(text, str) and text in REGISTRY and not os.path.isfile(text)
