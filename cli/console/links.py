"""One-time links of the operator's console, sealed with the keys of the installation.

Any process with ENCRYPTION_KEYS makes a link, also while the console runs already. Such a process
can work on the database directly, so a link gives no right that its maker does not have. It names
the operator, whom the audit log then names.
"""

import base64
import binascii
import json
import secrets
import time
from dataclasses import asdict, dataclass
from typing import Final

from core.platform.crypto.sealing import Sealed, Sealer, SealError

CONTEXT: Final = "operator-console-link"
LIFE_SECONDS: Final = 15 * 60
"""Time to open the printed link in a browser."""
CLOCKS_SECONDS: Final = 60
"""How far the clock of the process that makes a link may be ahead."""
_ID_BYTES: Final = 16
PAGE: Final = "/operator/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What a link states. link_id: random, to refuse a second use. made_at: in Unix seconds."""

    link_id: str
    actor: str
    made_at: float


def new_link(sealer: Sealer, origin: str, actor: str) -> str:
    """Return an address that opens one session for this operator."""
    link = Link(link_id=secrets.token_hex(_ID_BYTES), actor=actor, made_at=time.time())
    sealed = sealer.seal(json.dumps(asdict(link)), context=CONTEXT)
    data = base64.urlsafe_b64encode(sealed.data).decode().rstrip("=")
    # Browsers do not send the fragment, so no log has the ticket.
    return f"{origin}{PAGE}#ticket={sealed.key_id}.{data}"


def read_ticket(sealer: Sealer, ticket: str) -> Link | None:
    """Return what the ticket of a link states; None if it is made up, changed or too old."""
    key_id, _, data = ticket.partition(".")
    try:
        raw = base64.urlsafe_b64decode(data + "=" * (-len(data) % 4))
        opened = sealer.open(Sealed(key_id=key_id, data=raw), context=CONTEXT)
    except (binascii.Error, ValueError, SealError):
        return None
    link = Link(**json.loads(opened))
    age = time.time() - link.made_at
    return link if -CLOCKS_SECONDS <= age <= LIFE_SECONDS else None
