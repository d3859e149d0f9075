"""The whole way on generated data: `make demo`."""

import sys

from uda.commands.demo import main

if __name__ == "__main__":
    sys.exit(main())
