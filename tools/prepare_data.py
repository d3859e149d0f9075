"""Convert the labels of a downloaded data set to train ids and count the pixels of each class."""

import sys

from uda.commands.prepare_data import main

if __name__ == "__main__":
    sys.exit(main())
