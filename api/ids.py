"""Ids and cursors in addresses: what cannot be one of ours is answered without asking the database."""

import base64
import binascii
import re

from api.problems import invalid_field
from contracts.ids import ExecutionId

EXECUTION_ID = re.compile(r"exec_[0-9a-f]{32}", re.ASCII)
KEY_ID = re.compile(r"key_[0-9a-f]{32}", re.ASCII)
ASSET_ID = re.compile(r"asset_[0-9a-f]{32}", re.ASCII)


def encode_cursor(last: ExecutionId) -> str:
    return base64.urlsafe_b64encode(last.encode()).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> ExecutionId:
    """Raises ProblemError for anything that we did not give out."""
    try:
        last = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        last = ""
    if not EXECUTION_ID.fullmatch(last):
        raise invalid_field("cursor", "is not one that this service gave out")
    return ExecutionId(last)
