"""Assets: uploads, and outputs of executions."""

from datetime import datetime

from takeone.models.base import Model


class Asset(Model):
    """A file of the account. source: `upload` or `output`. size: in bytes."""

    id: str
    source: str
    kind: str
    content_type: str
    size: int
    sha256: str
    width: int | None
    height: int | None
    duration: float | None
    execution_id: str | None
    created_at: datetime
