"""``python -m bitfront.search.cli``: the same as the ``bitfront`` command."""

from __future__ import annotations

import sys

from bitfront.search.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
