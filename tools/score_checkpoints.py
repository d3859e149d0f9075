"""Score all kept checkpoints of runs without labels: `python tools/score_checkpoints.py RUN`."""

import sys

from uda.commands.score_checkpoints import main

if __name__ == "__main__":
    sys.exit(main())
