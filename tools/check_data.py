"""Check the data of a config before a run: `python tools/check_data.py CONFIG`."""

import sys

from uda.commands.check_data import main

if __name__ == "__main__":
    sys.exit(main())
