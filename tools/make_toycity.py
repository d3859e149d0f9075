"""Write the generated two-domain street data set ToyCity."""

import sys

from uda.commands.make_toycity import main

if __name__ == "__main__":
    sys.exit(main())
