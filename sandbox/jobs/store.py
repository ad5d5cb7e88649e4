"""Jobs and their files, stored in SQLite so that they survive a kill of the process."""

import json
import secrets
import sqlite3
import uuid
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from sandbox.models.model import Provider
from sandbox.settings import Json

State = Literal["queued", "running", "succeeded", "failed", "canceled", "aborted"]
ENDED: frozenset[State] = frozenset({"succeeded", "failed", "canceled", "aborted"})


@dataclass(slots=True, kw_only=True)
class Job:
    """A job. Times are Unix seconds; states and errors are neutral, without vendors' terms."""

    id: str
    provider: Provider
    model: str
    input: Json
    base_url: str  # as the caller addressed the sandbox: the prefix of URLs in callbacks
    created_at: float
    queue_seconds: float
    latency_seconds: float
    seed: int
    account: str = ""  # of the key that created the job
    callback_url: str | None = None
    callback_events: list[str] = field(default_factory=lambda: ["completed"])
    start_deadline_at: float | None = None
    end_deadline_at: float | None = None
    stores_io: bool = True
    result_life_seconds: float | None = None
    faults: list[Json] = field(default_factory=list[Json])  # {"fault", "params"} bound to this job
    state: State = "queued"
    started_at: float | None = None
    ended_at: float | None = None
    error: Json | None = None  # {"status", "type", "message", "field", "url"}
    # Each with name, content_type, bytes, width, height and seconds.
    outputs: list[Json] = field(default_factory=list[Json])
    data: Json | None = None  # the words of speech or of a transcript
    # The fetched files of the input, each with its field, role, SHA-256, size and measures.
    fetched: list[Json] = field(default_factory=list[Json])
    moderated: bool = False
    billable_units: float | None = None  # whole, except with a `bill_factor`
    billed_nano_usd: int = 0
    # The latest state that a status read or callback has reported; stored and shown as `told`.
    reported_state: Literal["queued", "running", "ended"] = "queued"
    announced: bool = False  # no callback about the end is due (any more)

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def shown_earlier(self, seconds: float) -> "Job":
        """Return a copy as a provider shows it whose clock is behind by this much."""
        return replace(
            self,
            created_at=self.created_at - seconds,
            started_at=None if self.started_at is None else self.started_at - seconds,
            ended_at=None if self.ended_at is None else self.ended_at - seconds,
        )

    def fault(self, name: str) -> Json | None:
        """Return the parameters of a fault bound to this job."""
        return next((item["params"] for item in self.faults if item["fault"] == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A produced or uploaded file; its content is in the data folder."""

    name: str
    job_id: str
    provider: Provider
    model: str
    content_type: str
    created_at: float
    expires_at: float
    details: Json = field(default_factory=Json)  # of an upload, which has no job
    expired_status: int = 404


def new_job_id(provider: Provider) -> str:
    if provider == "fal":
        return str(uuid.uuid4())
    return "".join(secrets.choice("0123456789abcdefghjkmnpqrstvwxyz") for _ in range(26))


SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (name TEXT PRIMARY KEY, body TEXT NOT NULL);
"""
SAVE_JOB = (
    "INSERT INTO jobs (id, body) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body"
)
SAVE_FILE = "INSERT INTO files (name, body) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET body = excluded.body"


class Jobs:
    """All jobs in memory, with each change written to the database.

    Call it on the event loop only; a write takes microseconds.
    """

    def __init__(self, data_dir: Path) -> None:
        self._files_dir = data_dir / "files"
        self._files_dir.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(data_dir / "jobs.sqlite3", isolation_level=None)
        # Writes reach the operating system, which outlives the process. Only the bill is synced.
        self._database.execute("PRAGMA journal_mode = WAL").close()
        self._database.execute("PRAGMA synchronous = OFF").close()
        self._database.executescript(SCHEMA).close()
        self._jobs: dict[str, Job] = {}
        self._files: dict[str, StoredFile] = {}
        for (body,) in self._database.execute("SELECT body FROM jobs ORDER BY number"):
            job = _job_from(json.loads(body))
            self._jobs[job.id] = job
        for (body,) in self._database.execute("SELECT body FROM files"):
            file = StoredFile(**json.loads(body))
            self._files[file.name] = file

    def save(self, job: Job) -> None:
        self._jobs[job.id] = job
        self._database.execute(SAVE_JOB, (job.id, json.dumps(job_view(job)))).close()

    def find(self, job_id: str) -> Job | None:
        return self._jobs.get(job_id)

    def all(self, provider: Provider | None = None) -> list[Job]:
        """Return the jobs, oldest first."""
        return [job for job in self._jobs.values() if provider is None or job.provider == provider]

    def add_file(self, file: StoredFile, content: bytes) -> None:
        self.path_of(file).write_bytes(content)
        self.save_file(file)

    def save_file(self, file: StoredFile) -> None:
        self._files[file.name] = file
        self._database.execute(SAVE_FILE, (file.name, json.dumps(asdict(file)))).close()

    def find_file(self, name: str) -> StoredFile | None:
        return self._files.get(name)

    def all_files(self) -> list[StoredFile]:
        """Return the files, oldest first."""
        return list(self._files.values())

    def remove_file(self, file: StoredFile) -> None:
        self.path_of(file).unlink(missing_ok=True)
        self._files.pop(file.name, None)
        self._database.execute("DELETE FROM files WHERE name = ?", (file.name,)).close()

    def path_of(self, file: StoredFile) -> Path:
        return self._files_dir / file.name

    def clear(self) -> None:
        for name in self._files:
            (self._files_dir / name).unlink(missing_ok=True)
        self._jobs.clear()
        self._files.clear()
        self._database.execute("DELETE FROM jobs").close()
        self._database.execute("DELETE FROM files").close()

    def close(self) -> None:
        self._database.close()


def job_view(job: Job) -> dict[str, Any]:
    view = asdict(job)
    view["told"] = view.pop("reported_state")
    return view


def _job_from(view: dict[str, Any]) -> Job:
    return Job(reported_state=view.pop("told"), **view)
