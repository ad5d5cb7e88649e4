"""Concurrent imports of one process: each holds memory, disk and a connection while it arrives."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from core.domain.ids import UserId
from core.ordering.errors import ImportsBusyError, OwnImportsBusyError

IMPORTS: Final = 16
"""Two parts of 8 MiB each in memory, or 32 MiB on disk."""
IMPORTS_OF_USER: Final = 4


class ImportSlots:
    """The slots of a process."""

    def __init__(self, *, total: int = IMPORTS, of_user: int = IMPORTS_OF_USER) -> None:
        self._total = total
        self._of_user = of_user
        self._taken: Counter[UserId] = Counter()

    @contextmanager
    def take(self, user_id: UserId) -> Generator[None]:
        """Hold a slot. Raise OwnImportsBusyError or ImportsBusyError if none is free."""
        if self._taken[user_id] >= self._of_user:
            raise OwnImportsBusyError
        if self._taken.total() >= self._total:
            raise ImportsBusyError
        self._taken[user_id] += 1
        try:
            yield
        finally:
            self._taken[user_id] -= 1
            if not self._taken[user_id]:
                del self._taken[user_id]
