"""Join shards of pseudo-labels: `python tools/join_labels.py D`."""

import sys

from uda.commands.join_labels import main

if __name__ == "__main__":
    sys.exit(main())
