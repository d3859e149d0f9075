"""Rounds of labelling and training: `python tools/train_rounds.py CONFIG --start CHECKPOINT`."""

import sys

from uda.commands.train_rounds import main

if __name__ == "__main__":
    sys.exit(main())
