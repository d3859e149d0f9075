"""Train by a config: `python tools/train.py CONFIG`."""

import sys

from uda.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
