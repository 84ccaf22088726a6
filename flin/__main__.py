"""`python -m flin` is the command `flin`."""

import sys

from flin.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
