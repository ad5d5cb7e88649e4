"""The version of the client, which has its own, apart from the server's."""

from typing import Final

VERSION: Final = "0.1.0"
