"""Settings of the default limits per user."""

from typing import Annotated

from pydantic import Field

from core.platform.settings.base import Settings


class LimitSettings(Settings):
    """Concurrency limits of users without their own limit; the same for API and worker."""

    open_executions_per_user: Annotated[int, Field(ge=0)] = Field(
        default=10_000,
        description="maximum open executions per user; further requests are rejected",
    )
    running_executions_per_user: Annotated[int, Field(ge=1)] = Field(
        default=500,
        description="maximum running executions per user; further ones wait in the database",
    )
