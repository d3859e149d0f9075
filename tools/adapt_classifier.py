"""Adapt classifiers: `python tools/adapt_classifier.py MODEL --weights FILE --images DIR`."""

import sys

from uda.commands.adapt_classifier import main

if __name__ == "__main__":
    sys.exit(main())
