"""Convert labels and count their classes; cache the images of training."""

import sys

from uda.commands.prepare_data import main

if __name__ == "__main__":
    sys.exit(main())
