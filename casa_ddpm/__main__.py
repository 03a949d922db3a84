"""``python -m casa_ddpm``: the command line, where its script is not on the path."""

import sys

from casa_ddpm.cli import main

if __name__ == "__main__":
    sys.exit(main())
