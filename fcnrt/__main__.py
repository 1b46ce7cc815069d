"""``python -m fcnrt``: the same as ``fcnrt``."""

from __future__ import annotations

import sys

from fcnrt.cli import main

if __name__ == "__main__":
    sys.exit(main())
