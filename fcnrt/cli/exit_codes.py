"""What a process says when it ends; part of the public surface."""

from __future__ import annotations

DONE = 0
INTERNAL_ERROR = 1
USAGE = 2
SOME_FAILED = 3
NO_MODEL = 4
INTERRUPTED = 130
