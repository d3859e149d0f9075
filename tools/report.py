"""One page about one or several runs: `python tools/report.py RUN [RUN ...]`."""

import sys

from uda.commands.report import main

if __name__ == "__main__":
    sys.exit(main())
