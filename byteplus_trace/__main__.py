"""`python -m byteplus_trace`, the same as `byteplus-trace`."""

import sys

from ._cli import main

if __name__ == "__main__":
    sys.exit(main())
