"""Rows of an execution whose video renders, and copies of them under new ids."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from uuid_utils import uuid7

from core.domain.ids import ExecutionId, JobId, UserId
from core.domain.messages.executions import ExecutionOrder
from core.domain.plans import plan_from_json
from core.platform.crypto.callback_tokens import CallbackTokens

RENDERS_SECONDS: Final = 86_400
"""The duration of a video that does not end while it is measured, and the deadline of copies."""
OWN_ID: Final = re.compile(r"\b(exec|job|chg|asset|sec|evt)_[0-9a-f]{32}\b")

Rows = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Render:
    """One execution to fill in: the age of its video, when it ends, and its usual duration.

    usual_seconds: None leaves the model's.
    """

    age_seconds: float = 0.0
    left_seconds: float = RENDERS_SECONDS
    usual_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRows:
    """The rows to copy: those of an execution whose video renders."""

    text: str
    ids: tuple[str, ...]
    user_id: UserId
    image_job_id: str
    video_job_id: str
    provider_job_ids: tuple[str, str]
    object_keys: tuple[str, ...]
    held_nano_usd: int
    settled_nano_usd: int

    @classmethod
    def of(cls, rows: Rows) -> "ModelRows":
        video = next(job for job in rows["jobs"] if job["state"] == "submitted")
        image = next(job for job in rows["jobs"] if job["state"] == "completed")
        text = json.dumps(rows)
        return cls(
            text=text,
            ids=tuple(dict.fromkeys(match.group() for match in OWN_ID.finditer(text))),
            user_id=UserId(video["user_id"]),
            image_job_id=image["job_id"],
            video_job_id=video["job_id"],
            provider_job_ids=(image["provider_job_id"], video["provider_job_id"]),
            object_keys=tuple(asset["object_key"] for asset in rows["assets"]),
            held_nano_usd=sum(
                charge["held_nano_usd"] for charge in rows["charges"] if charge["state"] == "held"
            ),
            settled_nano_usd=sum(charge["settled_nano_usd"] for charge in rows["charges"]),
        )

    @property
    def provider_job_id(self) -> str:
        return self.provider_job_ids[1]

    def copy(self, render: Render) -> "CopiedRows":
        new = {old: f"{old.partition('_')[0]}_{uuid7().hex}" for old in self.ids}
        copy = CopiedRows(
            render=render,
            text=self.text,
            video_job_id=JobId(new[self.video_job_id]),
        )
        for old, fresh in new.items():
            copy.replace(old, fresh)
        copy.replace(self.provider_job_ids[0], uuid7().hex)
        for key in self.object_keys:  # derived from the job; no file is stored for the copy
            copy.replace(key, f"filled/{uuid7().hex}")
        return copy


@dataclass(slots=True, kw_only=True)
class CopiedRows:
    """The rows of one copy, as JSON text until all ids are replaced."""

    render: Render
    text: str
    video_job_id: JobId
    callback_url: str | None = None

    def replace(self, old: str, new: str) -> None:
        self.text = self.text.replace(old, new)

    def sign(self, tokens: CallbackTokens) -> None:
        """Give the video's send a callback address of its own."""
        send = next(
            send for send in json.loads(self.text)["sends"] if send["job_id"] == self.video_job_id
        )
        found = re.search(r"http://[^\"\s]+/callbacks/[^\"\s&]+", json.dumps(send["request"]))
        if found is not None:
            base = found.group().rpartition("/")[0]
            token = tokens.sign(base.rpartition("/")[2], self.video_job_id, send["number"])
            self.callback_url = f"{base}/{token}"
            self.replace(found.group(), self.callback_url)

    def rows(self) -> Rows:
        """Return the rows of an accepted execution whose video was submitted earlier."""
        rows: Rows = json.loads(self.text)
        now = datetime.now(UTC)
        sent = now - timedelta(seconds=self.render.age_seconds)
        ends = now + timedelta(seconds=RENDERS_SECONDS)
        rows["executions"][0] |= {
            "status": "queued",
            "plan": self._plan(rows["executions"][0]["plan"]),
            "created_at": now.isoformat(),
            "queued_at": now.isoformat(),
            "started_at": None,
            "deadline_at": ends.isoformat(),
        }
        usual = self.render.usual_seconds
        for step in rows["steps"]:
            step["deadline_seconds"] = RENDERS_SECONDS
            if usual is not None and step["kind"] == "video":
                step["usual_seconds"] = usual
        usual = next(step["usual_seconds"] for step in rows["steps"] if step["kind"] == "video")
        for job in rows["jobs"]:
            if job["job_id"] == self.video_job_id:
                job |= {"submitted_at": sent.isoformat(), "deadline_at": ends.isoformat()}
                if job.get("next_look_at") is not None:
                    look = sent + timedelta(seconds=1.3 * usual + 3)
                    job["next_look_at"] = max(now, look).isoformat()
        for send in rows["sends"]:
            if send["job_id"] == self.video_job_id:
                send |= {"sent_at": sent.isoformat(), "answered_at": sent.isoformat()}
        return rows

    def _plan(self, plan: dict[str, Any]) -> dict[str, Any]:
        steps = [step | {"deadline_seconds": RENDERS_SECONDS} for step in plan["steps"]]
        return plan | {"steps": steps}

    def order(self) -> ExecutionOrder:
        execution = json.loads(self.text)["executions"][0]
        return ExecutionOrder(
            execution_id=ExecutionId(execution["execution_id"]),
            user_id=UserId(execution["user_id"]),
            generation=execution["generation"],
            plan=plan_from_json(self._plan(execution["plan"])),
        )
