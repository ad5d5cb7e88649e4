"""`python -m cli`, the same program as `takeone-admin`."""

import sys

from cli.main import main

if __name__ == "__main__":
    sys.exit(main())
