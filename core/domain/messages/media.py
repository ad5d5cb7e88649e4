"""Messages about media steps, which run on our own processors."""

from dataclasses import dataclass

from core.domain.failures import Failure
from core.domain.ids import AssetId, ExecutionId, UserId
from core.domain.media.content import MediaKind
from core.domain.messages.jobs import JobRef
from core.domain.states import JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaOrder:
    """A media step's job to run.

    is_final: users receive its files. input_failure: why the file of a step that it needs could not
    be stored. makes: the kind of its first file, by which the plan was accepted; None: a plan of an
    earlier version.
    """

    job: JobRef
    is_final: bool = False
    input_failure: Failure | None = None
    makes: MediaKind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaResult:
    """The job after a run. WAITING: run it again later.

    Another job is making the same files, or an outage lasts.
    """

    state: JobState
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFailure:
    """The end of a job whose runs were all lost."""

    job: JobRef
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class PosterOrder:
    """A finished video that gets a poster. asset_id: the first file of the execution's result."""

    user_id: UserId
    execution_id: ExecutionId
    asset_id: AssetId
