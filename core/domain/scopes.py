"""What a credential may be used for. Each stands for itself: `admin` implies neither of
the others.
"""

from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """read: look at what is the user's. generate: start, change, cancel and retry work, and spend
    with it.

    admin: what outlives a request: API keys, provider keys, endpoints and their secrets.
    """

    READ = "read"
    GENERATE = "generate"
    ADMIN = "admin"


ALL_SCOPES: Final = frozenset(Scope)
USUAL_SCOPES: Final = frozenset({Scope.READ, Scope.GENERATE})
"""What an application needs that orders videos, and all that it gets where nothing is said."""
