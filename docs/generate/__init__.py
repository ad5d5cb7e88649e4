"""Reference pages generated from the code; `python -m docs.generate` writes them."""

import sys
from pathlib import Path

# The Python client is a package of its own, which the server's environment does not have.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "clients/python"))
