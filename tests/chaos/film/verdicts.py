"""What is wrong with a film, compared with the film that nothing disturbed."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from tests.chaos.bill import BillReader
from tests.chaos.film.plan import MEDIA, PAID, step_token
from tests.chaos.film.programs import programs_in
from tests.chaos.film.traps import FilmTraps
from tests.chaos.judge import EXECUTIONS
from tests.chaos.load import Mailbox, Order
from tests.chaos.testbed import WORKERS, Testbed

Bill = dict[str, list[tuple[str, int]]]
"""By paid step: the model and the amount of each line."""

_FILES: Final = """
SELECT j.step_name, a.output_number, a.sha256
FROM jobs AS j JOIN assets AS a ON a.job_id = j.job_id
WHERE j.execution_id = $1 AND a.kind <> 'transcript'
"""
_MEDIA: Final = """
SELECT count(*) FILTER (WHERE j.state = 'completed') AS completed, count(*) AS jobs,
       (SELECT coalesce(sum(u.jobs), 0)::int FROM usage_media AS u WHERE u.user_id = e.user_id)
           AS counted,
       (SELECT count(*) FROM content_keys AS k WHERE k.user_id = e.user_id) AS keys
FROM executions AS e JOIN jobs AS j ON j.execution_id = e.execution_id AND j.provider = 'media'
WHERE e.execution_id = $1 GROUP BY e.user_id
"""
_ONCE: Final = {"completed": len(MEDIA), "jobs": len(MEDIA), "counted": len(MEDIA),
                "keys": len(MEDIA)}  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Film:
    """What one film has become.

    files: the SHA-256 of each stored file, by step and number, without word times, which have the
    film's number. result_sha256: of the downloaded result. again: media steps that were computed
    again after their end. computed: how often each media step was computed.
    """

    number: int
    bill: Bill = field(default_factory=dict[str, list[tuple[str, int]]])
    files: dict[str, str] = field(default_factory=dict[str, str])
    result_sha256: str = ""
    again: Counter[str] = field(default_factory=Counter[str])
    computed: dict[str, int] = field(default_factory=dict[str, int])
    broken: list[str] = field(default_factory=list[str])

    def extra_paid(self, step: str, reference: "Film") -> int:
        """Return how many lines of the bill it has for a step beyond those of the other film."""
        lines = Counter(self.bill.get(step, ())) - Counter(reference.bill.get(step, ()))
        return lines.total()

    def other_bytes(self, reference: "Film") -> list[str]:
        """Return the files that are missing, are new or have other bytes."""
        names = sorted(self.files.keys() | reference.files.keys())
        return [name for name in names if self.files.get(name) != reference.files.get(name)]

    def faults(self, reference: "Film") -> list[str]:
        """Return a sentence for each fault."""
        extra = sum(self.extra_paid(step, reference) for step in PAID)
        changed = self.other_bytes(reference)
        is_same_bill = all(sorted(self.bill[step]) == sorted(reference.bill[step]) for step in PAID)
        said = [
            *self.broken,
            f"extra paid {extra}" if extra else "",
            "" if is_same_bill else f"another bill: {self.bill}",
            f"finished steps computed again: {', '.join(self.again)}" if self.again else "",
            f"other bytes: {', '.join(changed)}" if changed else "",
            "" if self.result_sha256 == reference.result_sha256 else "another result file",
        ]
        return [f"film {self.number}: {text}" for text in said if text]


@dataclass(slots=True, kw_only=True)
class Inspector:
    """Reads what became of films."""

    testbed: Testbed
    traps: FilmTraps
    mailbox: Mailbox
    bill: BillReader

    async def look(self, order: Order) -> Film:
        """Return what a film has become; it is at rest."""
        film = Film(number=order.number)
        lines = await self.bill.by_token()
        for step in PAID:
            film.bill[step] = [
                (line["model"], line["billed_nano_usd"])
                for line in lines[step_token(order.number, step)]
            ]
        for (number, step), count in self.traps.again.items():
            if number == order.number:
                film.again[step] += count
        film.computed = {step: self.traps.computed[order.number, step] for step in MEDIA}
        rows = await self.testbed.rows(EXECUTIONS, [order.token])
        if len(rows) != 1:
            film.broken.append(f"{len(rows)} executions ({order.refused})")
        for row in rows:
            await self._look_at_row(film, row)
        return film

    async def _look_at_row(self, film: Film, row: dict[str, Any]) -> None:
        execution_id = row["execution_id"]
        if row["status"] != "completed":
            film.broken.append(f"{row['status']} {row['error'] or ''}")
        for name in ("open_charges", "open_jobs", "pending", "held"):
            if row[name]:
                film.broken.append(f"{name} {row[name]}")
        arrivals = self.mailbox.of.get(execution_id, [])
        if len({arrival.event_id for arrival in arrivals}) != 1:
            film.broken.append(f"{len(arrivals)} webhooks")
        billed = sum(amount for step in PAID for _, amount in film.bill[step])
        if row["ledger"] != billed:
            film.broken.append(f"ledger minus bill {row['ledger'] - billed}")
        for media in await self.testbed.rows(_MEDIA, execution_id):
            if media != _ONCE:
                film.broken.append(f"media steps are not completed once: {media}")
        for file in await self.testbed.rows(_FILES, execution_id):
            film.files[f"{file['step_name']}/{file['output_number']}"] = file["sha256"]
        if row["result"]:
            url = json.loads(row["result"])["assets"][0]["url"]
            async with httpx.AsyncClient(trust_env=False, verify=False, timeout=20) as http:
                content = (await http.get(url)).raise_for_status().content
            film.result_sha256 = hashlib.sha256(content).hexdigest()


def left_behind(scratch: Path) -> list[str]:
    """Return what runs have left in the workers' scratch folder, once nothing runs."""
    left = [f"process {pid} of ffmpeg" for pid in programs_in(scratch)]
    left += [f"folder {path.name}" for path in scratch.glob("worker-*/run-*")]
    workers = list(scratch.glob("worker-*"))
    if len(workers) > len(WORKERS):
        left.append(f"{len(workers)} folders of {len(WORKERS)} workers")
    return left
