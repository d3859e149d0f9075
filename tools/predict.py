"""Predict images or a video: `python tools/predict.py CONFIG CHECKPOINT INPUT --out DIR`."""

import sys

from uda.commands.predict import main

if __name__ == "__main__":
    sys.exit(main())
