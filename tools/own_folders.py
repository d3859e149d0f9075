"""Write configs for own folders: `python tools/own_folders.py --source-images DIR ...`."""

import sys

from uda.commands.own_folders import main

if __name__ == "__main__":
    sys.exit(main())
