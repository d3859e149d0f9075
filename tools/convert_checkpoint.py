"""Rename weights: `python tools/convert_checkpoint.py IN OUT --to uda`."""

import sys

from uda.commands.convert_checkpoint import main

if __name__ == "__main__":
    sys.exit(main())
