"""Pseudo-labels of a target set: `python tools/generate_labels.py CONFIG CHECKPOINT --out D`."""

import sys

from uda.commands.generate_labels import main

if __name__ == "__main__":
    sys.exit(main())
