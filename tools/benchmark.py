"""Measure what runs cost: `python tools/benchmark.py step|memory|adapt|labels ...`."""

import sys

from uda.commands.benchmark import main

if __name__ == "__main__":
    sys.exit(main())
