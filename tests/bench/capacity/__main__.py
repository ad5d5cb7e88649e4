"""`python -m tests.bench.capacity`: compute the tables of the capacity page and simulate them.

Without options it prints the tables; `--write` puts them into docs/explanation/capacity.md.
"""

import argparse
import sys

from tests.bench.capacity.costs import read_costs
from tests.bench.capacity.page import PAGE, check_line, rendered, tables


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.capacity", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write the tables into {PAGE.name}")
    options = parser.parse_args()
    costs = read_costs()
    if options.write:
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(rendered(text, costs), encoding="utf-8")
    sys.stdout.write(f"{tables(costs)}\n\n{check_line(costs)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
