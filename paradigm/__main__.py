"""`python -m paradigm`, and so `torchrun -m paradigm`: the same as the command `paradigm`."""

import sys

from paradigm.cli import main

if __name__ == "__main__":
    sys.exit(main())
