"""``python -m pypx`` is ``px``."""

from __future__ import annotations

import sys

from pypx.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
