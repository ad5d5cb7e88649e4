"""The operator's console over HTTP: its guard, its session, and commands after a dry run."""

import asyncio
import base64
import json
import signal
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from cli.console.application import OperatorConsole
from cli.console.links import new_link
from cli.console.served import SERVED, Kind, command_line
from cli.console.server import SharedSession, listen
from cli.console.sessions import DRY_RUN_SECONDS, SESSION_SECONDS, OperatorSessions
from core.domain.failures import FailureCode
from core.domain.ids import new_job_id
from core.domain.money import NANO_PER_USD, NanoUsd
from core.domain.states import CostBasis
from core.platform.crypto.sealing import Sealer
from core.platform.settings.processes import AdminProcess
from core.store.accounts.audit import AuditEntry, list_audit
from core.store.database import Database
from core.store.money.settlement import settle_charge
from core.store.operator import RefusedError
from core.store.providers.circuit_breaker import trip
from tests.support.admin import admin_environment, run_admin
from tests.support.operator_jobs import given_up, sent
from tests.support.servers import FreshDatabase

pytestmark = pytest.mark.guarantee("G6")

ORIGIN = "http://127.0.0.1:8081"
SEALER = Sealer([bytes(32)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """A console in this process. http: a page that has sent no token yet."""

    url: str
    database: Database
    http: httpx.AsyncClient

    async def log_in(self, actor: str = "Ada") -> None:
        answer = await self.http.post("/session", json={"ticket": ticket(actor)})
        assert answer.status_code == 201, answer.text
        self.http.headers["X-Takeone-Operator"] = answer.json()["token"]

    async def read(self, name: str, **values: str) -> Any:
        answer = await self.http.get(f"/commands/{name}", params=values)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]

    async def show(self, name: str, **values: object) -> dict[str, Any]:
        answer = await self.http.post(f"/commands/{name}", json={"values": values})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def run(self, name: str, **values: object) -> Any:
        """Run a command after its dry run, which changes nothing."""
        before = await self.state(values)
        shown = await self.show(name, **values)
        assert await self.state(values) == before
        assert shown["result"]["dryRun"] is True
        answer = await self.http.post(f"/confirmations/{shown['confirmation']}")
        assert answer.status_code == 200, answer.text
        assert answer.json()["command"] == shown["command"]
        return answer.json()["result"]

    async def state(self, values: Mapping[str, object]) -> tuple[object, ...]:
        """Return what a dry run must not change: the job, the pauses, and the audit log."""
        job = await self.read("jobs/show", job=str(values["job"])) if "job" in values else None
        return job, await self.read("submits/show"), await self.audited()

    async def audited(self) -> list[AuditEntry]:
        async with self.database.as_system() as conn:
            return await list_audit(conn)


def ticket(actor: str = "Ada") -> str:
    return new_link(SEALER, ORIGIN, actor).partition("#ticket=")[2]


@pytest.fixture
async def console(fresh_database: FreshDatabase) -> AsyncGenerator[Console]:
    url = fresh_database.application_dsn
    settings = AdminProcess.model_validate(
        {"database_url": url, "encryption_keys": base64.b64encode(bytes(32)).decode()}
    )
    async with Database.open(url, max_connections=4, generic_plans=False) as database:
        session = SharedSession(lambda: settings, database)
        app = OperatorConsole(session, OperatorSessions(SEALER)).app()
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url=ORIGIN
        ) as http:
            yield Console(url=url, database=database, http=http)


async def test_a_link_opens_one_session(console: Console) -> None:
    link = ticket("Ada")
    first = await console.http.post("/session", json={"ticket": link})
    again = await console.http.post("/session", json={"ticket": link})
    assert (first.status_code, again.status_code) == (201, 401)
    assert "console-link" in again.json()["detail"]
    foreign = new_link(Sealer([bytes(range(32))]), ORIGIN, "Eve").partition("#ticket=")[2]
    changed = link[:-2] + ("AA" if link[-2:] != "AA" else "BB")
    for wrong in (foreign, changed, "x", "", "a.b", None, 7):
        answer = await console.http.post("/session", json={"ticket": wrong})
        assert answer.status_code == 401, wrong

    headers = {"X-Takeone-Operator": first.json()["token"]}
    assert (await console.http.get("/session", headers=headers)).json()["session"]["actor"] == "Ada"
    assert (await console.http.get("/commands/overview", headers=headers)).status_code == 200
    assert (await console.http.delete("/session", headers=headers)).status_code == 204
    assert (await console.http.get("/commands/overview", headers=headers)).status_code == 401
    assert (await console.http.get("/session", headers=headers)).json() == {"session": None}


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "attacker.example:8081"},
        {"Host": "127.0.0.1.attacker.example"},
        {"Host": ""},
        {"Origin": "http://attacker.example"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
async def test_requests_of_foreign_pages_are_refused(
    console: Console, headers: Mapping[str, str]
) -> None:
    await console.log_in()
    for method, path in (
        ("GET", "/operator/"),
        ("GET", "/commands/overview"),
        ("POST", "/commands/providers/reset"),
        ("POST", "/session"),
    ):
        answer = await console.http.request(method, path, headers=dict(headers))
        assert answer.status_code == 403, path


async def test_pages_have_a_strict_policy_and_commands_need_a_token(
    console: Console,
) -> None:
    entered = await console.http.get("/")
    assert (entered.status_code, entered.headers["location"]) == (307, "/operator/")
    page = await console.http.get("/operator/")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert (await console.http.get("/shared/view.js")).status_code == 200
    assert (await console.http.get("/vendor/LICENSE.preact")).status_code == 404
    for method, path in (
        ("GET", "/commands/overview"),
        ("POST", "/commands/providers/reset"),
        ("POST", "/confirmations/x"),
    ):
        answer = await console.http.request(
            method, path, json={}, headers={"X-Takeone-Operator": "made-up"}
        )
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    tunnel = await console.http.get("/session", headers={"Host": "localhost:9999"})
    assert tunnel.status_code == 200


async def test_dry_run_changes_nothing_and_a_confirmation_runs_once(console: Console) -> None:
    await console.log_in("Ada@desk")
    async with console.database.as_system() as conn:
        await trip(conn, "fal", new_job_id(), FailureCode.PROVIDER_CREDIT_EXHAUSTED, 402)
    (refusing,) = (await console.read("overview"))["refusing"]
    assert refusing["trippedCode"] == "provider_credit_exhausted"

    shown = await console.show("providers/reset", provider="fal", note="invoice paid")
    assert shown["command"] == "takeone-admin providers reset fal --note 'invoice paid'"
    assert shown["result"] == {"dryRun": True, "provider": "fal", "changed": True}
    assert [each["accepts"] for each in await console.read("providers/show")] == [False]
    assert await console.audited() == []

    path = f"/confirmations/{shown['confirmation']}"
    assert (await console.http.post(path)).json()["result"] == {"provider": "fal", "changed": True}
    again = await console.http.post(path)
    assert (again.status_code, again.json()["code"]) == (409, "not_shown")
    assert (await console.read("providers/show")) == []
    (entry,) = await console.audited()
    assert (entry.actor, entry.action, entry.target) == (
        "Ada@desk (console)",
        "providers reset",
        "fal",
    )
    assert entry.detail["note"] == "invoice paid"


async def test_each_action_has_the_effect_of_its_command(console: Console) -> None:
    await console.log_in()
    unknown = (await sent(console.database)).image.job_id
    abandoned, released, billed = [
        (await given_up(console.database)).image.job_id for _ in range(3)
    ]
    async with console.database.as_system() as conn:
        await settle_charge(conn, billed, NanoUsd(3_000_000), CostBasis.REPORTED)
    listed = await console.read("jobs/list", state="unknown")
    assert listed == (await run_admin(console.url, "jobs", "list", "--state", "unknown")).json
    adopted = await console.run(
        "jobs/adopt", job=unknown, providerJobId="req-1", note="seen in the dashboard"
    )
    assert adopted["outcome"] == "submitted"
    settled = await console.run("jobs/settle", job=abandoned, usd="0.002", note="invoice 7")
    assert settled["settledUsd"] == "0.002"
    refunded = await console.run("jobs/refund", job=billed, usd="0.001", reason="came out black")
    assert refunded["refundedUsd"] == "0.001"
    assert (await console.run("jobs/release", job=released, note="support"))["changed"] is True
    paused = await console.run("submits/pause", model="m", reason="outage", yes=True)
    assert [each["scope"] for each in paused["paused"]] == ["model/m"]
    assert (await console.run("submits/resume", model="m", note="over"))["paused"] == []
    stake = await console.run("executions/cancel", status="queued", reason="drill")
    assert stake["cancelled"] == stake["matching"]["executions"]
    resent = await console.run("webhooks/resend", **{"from": "2026-01-01T00:00:00Z"}, note="lost")
    assert resent["resent"] == resent["events"]
    checked = (await console.show("ledger/check"))["result"]
    assert checked == json.loads((await run_admin(console.url, "ledger", "check")).out)
    assert [check["name"] for check in (await console.read("overview"))["ledgerChecks"]] == [
        "ledger"
    ]
    audited = [entry.action for entry in await console.audited()]
    assert audited[-6:] == [
        "submits resume",
        "submits pause",
        "jobs release",
        "jobs refund",
        "jobs settle",
        "jobs adopt",
    ]


async def test_overview_shows_money_and_open_work(console: Console) -> None:
    await console.log_in()
    one, other = await sent(console.database), await given_up(console.database)
    overview = await console.read("overview")
    in_flight = sum(Decimal(row["heldUsd"]) for row in overview["inFlight"])
    assert in_flight == await _held_usd(console) > 0
    assert [(row["provider"], row["number"]) for row in overview["unknownSends"]] == [("fal", 1)]
    assert ("fal", 1) in [(row["provider"], row["number"]) for row in overview["openBills"]]
    assert overview["reconciler"] == {"leads": False, "lastSuccessSeconds": None, "late": []}
    (opened,) = await console.read("executions/list", user=one.user_id)
    assert (opened["executionId"], opened["status"]) == (one.execution_id, "running")
    assert "unknown" in opened["states"]
    assert await console.read("executions/list", status="queued") == []
    queues = await console.read("queues")
    assert [(row["userId"], row["running"]) for row in queues["users"]] == [(one.user_id, 1)]
    assert [(row["provider"], row["inFlight"]) for row in queues["providers"]] == [("fal", 1)]
    assert await console.read("executions/undelivered") == []
    async with console.database.as_system() as conn:
        await settle_charge(conn, other.image.job_id, NanoUsd(3_000_000), CostBasis.REPORTED)
    (spent,) = await console.read("executions/undelivered")
    assert (spent["executionId"], spent["outcome"], spent["settledUsd"]) == (
        other.execution_id,
        "failed",
        "0.003",
    )
    (summed,) = (await console.read("overview"))["undelivered"]
    assert (summed["executions"], summed["usd"]) == (1, "0.003")


async def _held_usd(console: Console) -> Decimal:
    async with console.database.as_system() as conn:
        held = await conn.fetchval("SELECT sum(held_nano_usd) FROM charges WHERE state = 'held'")
    return Decimal(held) / NANO_PER_USD


async def test_dry_run_of_one_resend_sends_nothing(console: Console) -> None:
    await console.log_in()
    answer = await console.http.post(
        "/commands/webhooks/resend", json={"values": {"event": "evt_x"}}
    )
    assert answer.json()["detail"] == "no event evt_x"
    line = command_line("webhooks resend", {"event": "evt_x"}, actor="Ada")
    assert "--dry-run" in line.dry
    assert "--yes" not in line.dry
    assert line.text == "takeone-admin webhooks resend evt_x --yes"


def test_every_change_has_a_dry_run() -> None:
    for name, kind in SERVED.items():
        line = command_line(name, {}, actor="Ada")
        changes = any(word.startswith("--actor=") for word in line.real)
        if kind is Kind.READ:
            assert not changes, name
        elif kind is Kind.CHANGE:
            assert "--dry-run" in line.dry, name
        elif kind is Kind.COUNT:
            assert set(line.real) - set(line.dry) == {"--yes"}, name
        assert "--dry-run" not in line.real, name


def test_sessions_and_dry_runs_end() -> None:
    now = time.time()
    sessions = OperatorSessions(SEALER, clock=lambda: now)
    early = ticket()
    opened = sessions.open(ticket())
    assert opened is not None
    token, session = opened
    confirmation = session.keep(("overview",), "takeone-admin overview")
    stale = session.keep(("overview",), "takeone-admin overview")
    assert session.take(confirmation) is not None
    now += DRY_RUN_SECONDS + 1
    assert session.take(stale) is None
    assert sessions.find(token) is session
    now += SESSION_SECONDS
    assert sessions.find(token) is None
    restarted = OperatorSessions(SEALER, clock=lambda: now)
    assert restarted.open(early) is None


@pytest.mark.parametrize(
    ("name", "values", "status", "part"),
    [
        ("jobs/adopt", {"job": "job_x", "providerJobId": "a"}, 409, "no job job_x"),
        ("jobs/settle", {"job": "job_x", "usd": "1e3"}, 422, "not an amount"),
        ("jobs/settle", {"job": "job_x", "usd": "20000"}, 422, "unusual"),
        ("jobs/settle", {"job": "job_x"}, 422, "--usd"),
        ("jobs/release", {"job": "--help"}, 409, "no job --help"),
        ("jobs/release", {"job": "job_x", "actor": "Eve"}, 422, "actor"),
        ("executions/cancel", {"all": True, "yes": True}, 422, "yes"),
        ("executions/cancel", {}, 422, "at least one filter"),
        ("providers/reset", {"provider": ["fal"]}, 422, "provider"),
        ("providers/reset", {"provider": "x" * 501}, 422, "provider"),
        ("submits/pause", {"provider": "none", "reason": "x"}, 422, "has ever used"),
        ("ledger/check", {"repair": True}, 422, "repair"),
        ("users/create", {"name": "Eve"}, 404, "does not offer"),
        ("secrets/rotate", {}, 404, "does not offer"),
        ("overview", {}, 405, "GET"),
    ],
    ids=str,
)
async def test_wrong_values_are_refused(
    console: Console, name: str, values: Mapping[str, object], status: int, part: str
) -> None:
    await console.log_in()
    answer = await console.http.post(f"/commands/{name}", json={"values": values})
    assert answer.status_code == status, answer.text
    assert part in answer.json()["detail"]
    assert await console.audited() == []


async def test_actions_are_not_run_by_get(console: Console) -> None:
    await console.log_in()
    answer = await console.http.get("/commands/providers/reset", params={"provider": "fal"})
    assert (answer.status_code, answer.json()["code"]) == (405, "not_a_read")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_console_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(RefusedError, match="not a loopback address"):
        listen(host, 0)


async def test_process_prints_links_and_serves(fresh_database: FreshDatabase) -> None:
    environment = admin_environment(fresh_database.application_dsn)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", "console", "--port", "0", env=environment, stdout=PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            link = urlsplit((await process.stdout.readline()).decode().strip())
        origin = f"{link.scheme}://{link.netloc}"
        another = await run_admin(
            fresh_database.application_dsn, "console-link", "--actor", "Bob", as_text=True
        )
        async with httpx.AsyncClient(base_url=origin, trust_env=False, timeout=30) as http:
            assert (await http.get("/operator/")).status_code == 200
            for printed in (link.fragment, urlsplit(another.out.strip()).fragment):
                body = {"ticket": printed.removeprefix("ticket=")}
                assert (await http.post("/session", json=body)).status_code == 201
            assert (await http.post("/session", json=body)).json()["code"] == "unauthenticated"
    finally:
        process.terminate()
        assert await process.wait() in (0, -signal.SIGTERM)
