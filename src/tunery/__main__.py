"""``python -m tunery``: the same as the command ``tunery``."""

import sys

from tunery.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
