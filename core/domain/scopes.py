"""The scopes of a credential; no scope implies another."""

from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """A permission of a credential.

    read: read the user's data.
    generate: start, change, cancel and retry executions, which spends money.
    admin: manage API keys, provider keys, and webhook endpoints with their secrets.
    """

    READ = "read"
    GENERATE = "generate"
    ADMIN = "admin"


ALL_SCOPES: Final = frozenset(Scope)
USUAL_SCOPES: Final = frozenset({Scope.READ, Scope.GENERATE})
"""The scopes that an application needs to generate videos, and the default of a credential."""
