"""The command line `takeone`, which needs the extra `takeone[cli]`."""

import sys
from importlib.util import find_spec

EXTRA = ("click", "rich")


def main() -> int:
    """Run the command line, and return its exit code: 2 if the extra is not installed."""
    if any(find_spec(module) is None for module in EXTRA):
        sys.stderr.write("The command line needs further packages: pip install 'takeone[cli]'\n")
        return 2
    from takeone.cli.main import run

    return run(sys.argv[1:])
