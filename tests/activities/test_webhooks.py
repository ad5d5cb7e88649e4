"""One try of a webhook, against a receiver that does everything a receiver can do."""

import asyncio
import dataclasses
import hashlib
import hmac
import ssl
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from standardwebhooks.webhooks import Webhook
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.testing import ActivityEnvironment

from activities.webhooks import WebhookActivities
from core.domain.ids import EventId, UserId, new_event_id
from core.domain.messages.webhooks import AttemptOutcome, AttemptResult, DeliveryOrder, WebhookState
from core.platform.crypto.sealing import Sealer
from core.store.database import Database
from core.store.webhooks.events import (
    AttemptRecord,
    BegunAttempt,
    WebhookNotFoundError,
    begin_attempt,
    get_webhook,
    list_attempts,
    next_delivery,
)
from core.webhooks.retry_schedule import RETRY_DELAYS_SECONDS, retry_delay_seconds
from core.webhooks.sender import WebhookHttpSettings
from deploy.local.ports import free_ports
from tests.support.outbound import LOCAL_HTTP
from tests.support.receiver import (
    Answer,
    Receiver,
    drip,
    drop,
    flood,
    hang,
    raw,
    reply,
    self_signed,
)
from tests.support.servers import PostgresServer, new_database
from tests.support.webhook_rows import BODY, DEFAULT_SECRET, SEALER, Stored, store_webhook

pytestmark = pytest.mark.guarantee("G5")

QUICK = dataclasses.replace(LOCAL_HTTP, total_seconds=1.0, connect_seconds=0.5)


@pytest.fixture(scope="module")
async def database(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[Database]:
    """One for all tests here: each has users of its own."""
    async with (
        new_database(postgres_server, template_database) as fresh,
        Database.open(fresh.application_dsn, max_connections=4) as opened,
    ):
        yield opened


async def attempt(
    database: Database,
    order: DeliveryOrder,
    *,
    http: WebhookHttpSettings = QUICK,
    secrets: Sealer = SEALER,
) -> AttemptResult | ApplicationError:
    """What the activity returned, or the failure by which it asks Temporal for another try."""
    activities = WebhookActivities(database=database, sealer=secrets, http=http)
    try:
        return await ActivityEnvironment().run(activities.attempt, order)
    except ApplicationError as error:
        return error


async def attempts_of(database: Database, stored: Stored) -> list[AttemptRecord]:
    async with database.as_user(stored.user_id) as conn:
        return list(await list_attempts(conn, stored.event_id))


async def state_of(database: Database, stored: Stored) -> WebhookState:
    async with database.as_user(stored.user_id) as conn:
        return (await get_webhook(conn, stored.event_id)).state


async def test_attempt_delivers_what_both_kinds_of_receiver_verify(database: Database) -> None:
    async with Receiver.open(reply(204)) as receiver:
        stored = await store_webhook(database, receiver.url)
        result = await attempt(database, stored.order)
    assert result == AttemptResult(outcome=AttemptOutcome.DELIVERED, number=1, status_code=204)
    (request,) = receiver.received
    assert request.body == BODY
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("Takeone-Webhooks/")
    assert request.headers["webhook-id"] == stored.event_id
    Webhook(DEFAULT_SECRET).verify(request.body, request.headers)
    seed = hmac.new(DEFAULT_SECRET.encode(), BODY, hashlib.sha256).hexdigest()
    assert request.headers["x-webhook-signature"] == f"sha256={seed}"
    assert await state_of(database, stored) is WebhookState.DELIVERED


@pytest.mark.parametrize(
    "secret", ["my own text, sixteen or more", "whsec_bXkgb3duIHNlY3JldCwgZGVjb2RlZA=="]
)
async def test_attempt_signs_with_the_requests_own_secret(database: Database, secret: str) -> None:
    async with Receiver.open() as receiver:
        stored = await store_webhook(database, receiver.url, secret=secret)
        await attempt(database, stored.order)
    (request,) = receiver.received
    Webhook(secret if secret.startswith("whsec_") else secret.encode()).verify(
        request.body, request.headers
    )
    seed = hmac.new(secret.encode(), BODY, hashlib.sha256).hexdigest()
    assert request.headers["x-webhook-signature"] == f"sha256={seed}"


async def test_attempt_without_a_usable_secret_sends_nothing(database: Database) -> None:
    """Neither with a secret that cannot be opened, nor with one that signs nothing."""
    async with Receiver.open() as receiver:
        unopened = await store_webhook(database, receiver.url)
        empty = await store_webhook(database, receiver.url, secret="")
        assert isinstance(
            await attempt(database, unopened.order, secrets=Sealer([b"k" * 32])), ApplicationError
        )
        assert isinstance(await attempt(database, empty.order), ApplicationError)
        assert receiver.received == []
    for stored in (unopened, empty):
        (tried,) = await attempts_of(database, stored)
        assert tried.error == "secret_unusable"
        assert await state_of(database, stored) is WebhookState.PENDING


FAULTS: list[tuple[Answer, int | None, str]] = [
    (reply(500, b"boom"), 500, "http_error"),
    (reply(404), 404, "http_error"),
    (reply(302, headers={"location": "http://127.0.0.1:9/"}), 302, "redirect_not_followed"),
    (hang, None, "timed_out"),
    (drip(b"HTTP/1.1 200 OK\r\nx-slow: "), None, "timed_out"),
    (drop, None, "no_valid_answer"),
    (raw(b""), None, "no_valid_answer"),
    (raw(b"SSH-2.0-OpenSSH_9.6\r\n"), None, "no_valid_answer"),
    (raw(b"HTTP/1.1 999999 x\r\n\r\n"), None, "no_valid_answer"),
]


@pytest.mark.parametrize(("answer", "status_code", "error"), FAULTS)
async def test_attempt_that_was_not_taken_is_recorded_and_tried_again(
    database: Database, answer: Answer, status_code: int | None, error: str
) -> None:
    began = datetime.now(UTC)
    async with Receiver.open(answer) as receiver:
        stored = await store_webhook(database, receiver.url)
        failure = await attempt(database, stored.order)
        assert len(receiver.received) == 1
    assert isinstance(failure, ApplicationError)
    assert failure.category is ApplicationErrorCategory.BENIGN
    assert failure.next_retry_delay is not None
    assert timedelta(seconds=4.25) <= failure.next_retry_delay <= timedelta(seconds=5.75)
    assert receiver.url not in str(failure)
    (tried,) = await attempts_of(database, stored)
    assert (tried.number, tried.status_code, tried.error) == (1, status_code, error)
    assert tried.duration_ms is not None
    assert 0 <= tried.duration_ms < 5000
    assert abs(tried.started_at - began) < timedelta(seconds=5)
    assert await state_of(database, stored) is WebhookState.PENDING


async def test_refused_connection_is_a_category_not_an_exception(
    database: Database,
) -> None:
    (port,) = free_ports(1)
    addresses = {
        f"http://127.0.0.1:{port}/": "connection_refused",
        "http://no-such-host.invalid/": "name_not_resolved",
        "http://127.0.0.1:99999/": "invalid_url",
        "http://127.0.0.1:0/": "invalid_url",
        "http://[::1/": "invalid_url",
        "http://xn--a.example/": "invalid_url",
        "http://two..dots/": "name_not_resolved",
        f"http://{'long' * 20}.example/": "name_not_resolved",
        "http:///nowhere": "invalid_url",
        "ftp://127.0.0.1/": "invalid_url",
    }
    for url, error in addresses.items():
        stored = await store_webhook(database, url)
        failure = await attempt(database, stored.order)
        (tried,) = await attempts_of(database, stored)
        assert (url, tried.status_code, tried.error) == (url, None, error)
        assert isinstance(failure, ApplicationError)
        assert error in str(failure)


async def test_attempt_is_over_at_its_total_deadline(database: Database) -> None:
    """15 s for everything, also where each single read is quick."""
    assert WebhookHttpSettings().total_seconds == 15
    assert WebhookHttpSettings().connect_seconds == 5
    for answer in (hang, drip(b"HTTP/1.1 200 OK\r\nx-slow: ", every_seconds=0.01)):
        async with Receiver.open(answer) as receiver:
            stored = await store_webhook(database, receiver.url)
            began = asyncio.get_running_loop().time()
            await attempt(database, stored.order)
            assert 1.0 <= asyncio.get_running_loop().time() - began < 5.0


async def test_attempt_with_2xx_and_an_endless_body_is_delivered(database: Database) -> None:
    """The status line is the answer; what follows it cannot take it back, nor hold a slot past the
    deadline.
    """
    endless = drip(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n1000\r\n")
    broken = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this")
    for answer, beginning in ((endless, "first"), (broken, "only this")):
        async with Receiver.open(answer) as receiver:
            stored = await store_webhook(database, receiver.url)
            result = await attempt(database, stored.order)
        assert isinstance(result, AttemptResult)
        assert result.outcome is AttemptOutcome.DELIVERED
        (tried,) = await attempts_of(database, stored)
        assert tried.response_excerpt is not None
        assert tried.response_excerpt.startswith(beginning)


async def test_attempt_reads_little_of_a_huge_answer(database: Database) -> None:
    sent: list[int] = []
    async with Receiver.open(flood(1 << 30, sent)) as receiver:
        stored = await store_webhook(database, receiver.url)
        result = await attempt(database, stored.order)
    assert isinstance(result, AttemptResult)
    assert result.outcome is AttemptOutcome.DELIVERED
    assert (
        64 * 1024 <= sum(sent) < 32 * 1024 * 1024
    )  # what socket buffers swallow, not the gigabyte
    (tried,) = await attempts_of(database, stored)
    assert tried.response_excerpt == "y" * 1024


async def test_attempt_excerpt_is_one_kilobyte_without_control_characters(
    database: Database,
) -> None:
    hostile = (
        "\x00\x1b[31mred\r\n\u202eright to left\x7f ".encode() + b"\xff\xfe" + "é".encode() * 2000
    )
    async with Receiver.open(reply(500, hostile)) as receiver:
        stored = await store_webhook(database, receiver.url)
        await attempt(database, stored.order)
    (tried,) = await attempts_of(database, stored)
    assert tried.response_excerpt is not None
    assert tried.response_excerpt.startswith("  [31mred   right to left  ")
    assert tried.response_excerpt.isprintable()
    assert len(tried.response_excerpt.encode()) <= 1024


async def test_attempt_of_a_gone_receiver_fails_at_once(database: Database) -> None:
    async with Receiver.open(reply(410, b"bye")) as receiver:
        stored = await store_webhook(database, receiver.url)
        result = await attempt(database, stored.order)
        assert result == AttemptResult(outcome=AttemptOutcome.GONE, number=1, status_code=410)
        assert await state_of(database, stored) is WebhookState.FAILED
        assert isinstance(await attempt(database, stored.order), AttemptResult)
        assert len(receiver.received) == 1


@pytest.mark.parametrize(
    ("status", "retry_after", "at_least", "at_most"),
    [
        (429, "3600", 3600, 3600),
        (503, "120.5", 4.25, 5.75),  # not a form that RFC 9110 defines
        (503, "1", 4.25, 5.75),  # never sooner than the schedule
        (429, "99999999999999999999", 86400, 86400),
        (429, "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", 4.25, 5.75),
        (429, "-5", 4.25, 5.75),
        (429, "soon", 4.25, 5.75),
        (429, "Sun, 06 Nov 1994 08:49:37 GMT", 4.25, 5.75),
        (500, "3600", 4.25, 5.75),  # only where it means us
    ],
)
async def test_attempt_honours_retry_after_within_the_schedule(
    database: Database, status: int, retry_after: str, at_least: float, at_most: float
) -> None:
    async with Receiver.open(reply(status, headers={"retry-after": retry_after})) as receiver:
        stored = await store_webhook(database, receiver.url)
        failure = await attempt(database, stored.order)
    assert isinstance(failure, ApplicationError)
    assert failure.next_retry_delay is not None
    assert at_least <= failure.next_retry_delay.total_seconds() <= at_most


async def test_attempt_honours_retry_after_as_a_date(database: Database) -> None:
    at = datetime.now(UTC) + timedelta(minutes=10)
    header = at.strftime("%a, %d %b %Y %H:%M:%S GMT")
    async with Receiver.open(reply(503, headers={"retry-after": header})) as receiver:
        stored = await store_webhook(database, receiver.url)
        failure = await attempt(database, stored.order)
    assert isinstance(failure, ApplicationError)
    assert failure.next_retry_delay is not None
    assert 590 <= failure.next_retry_delay.total_seconds() <= 600


def test_schedule_is_ten_tries_over_three_days_with_jitter() -> None:
    order = DeliveryOrder(user_id=UserId("usr_1"), event_id=new_event_id())
    delays = [retry_delay_seconds(order, number, None) for number in range(1, 11)]
    assert delays[-1] is None
    assert delays == [retry_delay_seconds(order, number, None) for number in range(1, 11)]
    for delay, planned in zip(delays, RETRY_DELAYS_SECONDS, strict=False):
        assert delay is not None
        assert planned <= delay <= 1.15 * planned
    others = {
        retry_delay_seconds(
            DeliveryOrder(user_id=UserId("usr_1"), event_id=EventId(f"evt_{n}")), 9, None
        )
        for n in range(100)
    }
    assert len(others) == 100
    assert 75 * 3600 <= sum(RETRY_DELAYS_SECONDS) <= 80 * 3600


async def test_attempt_after_the_last_try_fails_the_webhook_visibly(database: Database) -> None:
    async with Receiver.open(reply(500)) as receiver:
        stored = await store_webhook(database, receiver.url)
        for _ in range(9):
            assert isinstance(await attempt(database, stored.order), ApplicationError)
        assert await state_of(database, stored) is WebhookState.PENDING
        last = await attempt(database, stored.order)
    assert last == AttemptResult(outcome=AttemptOutcome.EXHAUSTED, number=10, status_code=500)
    assert await state_of(database, stored) is WebhookState.FAILED
    assert [tried.number for tried in await attempts_of(database, stored)] == list(range(1, 11))
    assert {request.body for request in receiver.received} == {BODY}
    assert {request.headers["webhook-id"] for request in receiver.received} == {stored.event_id}


async def test_attempt_of_a_delivered_webhook_sends_nothing(database: Database) -> None:
    """A worker that was lost after it had recorded the delivery."""
    async with Receiver.open() as receiver:
        stored = await store_webhook(database, receiver.url)
        first = await attempt(database, stored.order)
        again = await attempt(database, stored.order)
        assert len(receiver.received) == 1
    assert isinstance(first, AttemptResult)
    assert isinstance(again, AttemptResult)
    assert (again.outcome, again.number) == (first.outcome, first.number)


async def test_attempt_that_was_cut_counts_as_one(database: Database) -> None:
    """A worker lost in the middle of a try leaves its row; the next try has the next number, and
    the pause after it is not longer for that.
    """
    async with Receiver.open(reply(500)) as receiver:
        stored = await store_webhook(database, receiver.url)
        async with database.as_user(stored.user_id) as conn:
            assert await begin_attempt(conn, stored.order) == BegunAttempt(1, 0)
        failed = await attempt(database, stored.order)
    assert isinstance(failed, ApplicationError)
    assert failed.next_retry_delay is not None
    assert failed.next_retry_delay < timedelta(seconds=6)
    cut, tried = await attempts_of(database, stored)
    assert (cut.number, cut.duration_ms, tried.number, tried.status_code) == (1, None, 2, 500)


async def test_attempt_without_a_database_takes_nothing_off_the_schedule(
    database: Database,
) -> None:
    """Temporal counts those tries, we do not: nothing was sent."""
    (dead_port,) = free_ports(1)
    async with (
        Receiver.open() as receiver,
        Database.open(f"postgresql://nobody@127.0.0.1:{dead_port}/none") as away,
    ):
        stored = await store_webhook(database, receiver.url)
        for _ in range(12):
            with pytest.raises(OSError, match="Connect"):
                await attempt(away, stored.order)
        assert receiver.received == []
        result = await attempt(database, stored.order)
    assert result == AttemptResult(outcome=AttemptOutcome.DELIVERED, number=1, status_code=200)


async def test_missing_event_fails_visibly_and_can_be_finished(database: Database) -> None:
    """As with a database restored to before the event."""
    stored = await store_webhook(database, "http://127.0.0.1:9/")
    order = DeliveryOrder(user_id=stored.user_id, event_id=new_event_id())
    with pytest.raises(WebhookNotFoundError):
        await attempt(database, order)
    finish = WebhookActivities(database=database, sealer=SEALER, http=QUICK).finish
    assert await ActivityEnvironment().run(finish, order) == AttemptResult(
        outcome=AttemptOutcome.EXHAUSTED, number=0
    )


async def test_attempt_as_another_user_reaches_nothing(database: Database) -> None:
    async with Receiver.open() as receiver:
        stored = await store_webhook(database, receiver.url)
        other = await store_webhook(database, receiver.url)
        with pytest.raises(WebhookNotFoundError):
            await attempt(database, dataclasses.replace(stored.order, user_id=other.user_id))
        assert receiver.received == []


async def test_attempt_verifies_the_receivers_certificate(
    database: Database, tmp_path: Path
) -> None:
    server, certificate = self_signed(tmp_path)
    async with Receiver.open(tls=server) as receiver:
        stored = await store_webhook(database, receiver.url)
        assert isinstance(await attempt(database, stored.order), ApplicationError)
        assert receiver.received == []
        (tried,) = await attempts_of(database, stored)
        assert tried.error == "tls_failed"
        trusting = dataclasses.replace(QUICK, tls=ssl.create_default_context(cafile=certificate))
        assert isinstance(await attempt(database, stored.order, http=trusting), AttemptResult)
        assert len(receiver.received) == 1


async def test_attempts_are_counted_by_outcome(database: Database) -> None:
    def counted(outcome: str) -> float:
        return (
            REGISTRY.get_sample_value("takeone_webhook_attempts_total", {"outcome": outcome}) or 0.0
        )

    before = {outcome: counted(outcome) for outcome in AttemptOutcome}
    async with Receiver.open(reply(500), reply(200), reply(410)) as receiver:
        stored = await store_webhook(database, receiver.url)
        await attempt(database, stored.order)
        await attempt(database, stored.order)
        await attempt(database, (await store_webhook(database, receiver.url)).order)
    grown = {str(outcome): counted(outcome) - before[outcome] for outcome in AttemptOutcome}
    assert grown == {"delivered": 1, "retry": 1, "gone": 1, "exhausted": 0}


async def test_resend_sends_the_same_body_and_stops_the_older_delivery(database: Database) -> None:
    async with Receiver.open(reply(500), reply(200)) as receiver:
        stored = await store_webhook(database, receiver.url)
        await attempt(database, stored.order)
        async with database.as_user(stored.user_id) as conn:
            again = await next_delivery(conn, stored.event_id)
        assert again == dataclasses.replace(stored.order, delivery=2)
        await attempt(database, stored.order)
        assert len(receiver.received) == 1
        assert isinstance(await attempt(database, again), AttemptResult)
    assert [request.body for request in receiver.received] == [BODY, BODY]
    assert await state_of(database, stored) is WebhookState.DELIVERED
    assert [(tried.delivery, tried.number) for tried in await attempts_of(database, stored)] == [
        (1, 1),
        (2, 1),
    ]
