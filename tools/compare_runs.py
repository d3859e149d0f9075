"""Name the first difference between two runs: `python tools/compare_runs.py A B`."""

import sys

from uda.commands.compare_runs import main

if __name__ == "__main__":
    sys.exit(main())
