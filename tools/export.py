"""Write a network as ONNX or torch.export: `python tools/export.py CONFIG CHECKPOINT --out F`."""

import sys

from uda.commands.export import main

if __name__ == "__main__":
    sys.exit(main())
