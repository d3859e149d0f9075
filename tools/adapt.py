"""Adapt a segmentor to a stream: `python tools/adapt.py CONFIG CHECKPOINT --stream FOLDER`."""

import sys

from uda.commands.adapt import main

if __name__ == "__main__":
    sys.exit(main())
