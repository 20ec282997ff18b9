"""``python -m bitfront.search.cli``: the same as the ``bitfront`` command."""

import sys

from bitfront.search.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
