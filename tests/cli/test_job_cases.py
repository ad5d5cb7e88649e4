"""`takeone-admin jobs list` and `show`, and pausing submissions."""

from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from core.domain.ids import JobId, ProviderJobId
from core.domain.messages.jobs import JobRef
from core.store.database import Database
from core.store.jobs.callbacks import NewCallback, record_callback
from core.store.jobs.cases import get_case, list_cases
from core.store.jobs.sends import begin_send
from core.store.jobs.submit_pauses import ALL, pause, provider_scope, resume, user_scope
from tests.support.operator_jobs import REQUEST, given_up, sent
from tests.support.rows import IMAGE_MODEL, Accepted, accept, new_execution, new_user
from tests.support.servers import PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G1")


@pytest.fixture(scope="module")
async def database(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[Database]:
    async with (
        new_database(postgres_server, template_database) as fresh,
        Database.open(fresh.application_dsn, max_connections=12) as opened,
    ):
        yield opened


Scene = Callable[[Database], Awaitable[Accepted]]


@pytest.mark.parametrize(
    ("scene", "listed"),
    [
        (sent, {None, "unknown"}),
        (given_up, {None, "submission-unknown", "open-bills"}),
    ],
)
async def test_list_shows_each_case_by_state(
    database: Database, scene: Scene, listed: set[str | None]
) -> None:
    one = await scene(database)
    for state in (None, "unknown", "submission-unknown", "open-bills", "orphans"):
        async with database.as_system() as conn:
            cases = await list_cases(conn, state, provider=None, older_than_seconds=0, limit=1000)
        assert (one.image.job_id in [case["jobId"] for case in cases]) is (state in listed), state
        assert one.video.job_id not in [case["jobId"] for case in cases]


async def test_list_shows_a_job_whose_send_cannot_be_repeated(database: Database) -> None:
    one = await sent(database)
    async with database.as_system() as conn:
        await conn.execute(
            "UPDATE jobs SET send_number = send_number + 1 WHERE job_id = $1", one.image.job_id
        )
        cases = await list_cases(conn, "unknown", provider=None, older_than_seconds=0, limit=1000)
    assert one.image.job_id in [case["jobId"] for case in cases]


async def test_list_filters_by_provider_and_age_and_shows_details(
    database: Database,
) -> None:
    one = await sent(database, sends=2)
    async with database.as_system() as conn:
        await conn.execute(
            "UPDATE sends SET sent_at = now() - interval '10 min' WHERE job_id = $1",
            one.image.job_id,
        )
        await record_callback(
            conn,
            NewCallback(
                provider="fal",
                delivery_id=f"d-{one.image.job_id}",
                job_id=one.image.job_id,
                send_number=1,
                provider_job_id=ProviderJobId("req-of-the-first"),
            ),
        )
        [case] = [
            case
            for case in await list_cases(
                conn, None, provider="fal", older_than_seconds=599, limit=1000
            )
            if case["jobId"] == one.image.job_id
        ]
        for provider, seconds in (("replicate", 0), ("fal", 700)):
            cases = await list_cases(
                conn, None, provider=provider, older_than_seconds=seconds, limit=1000
            )
            assert one.image.job_id not in [other["jobId"] for other in cases]
        orphans = await list_cases(conn, "orphans", provider=None, older_than_seconds=0, limit=1000)
    assert [(send["number"], send["outcome"]) for send in case["sends"]] == [
        (1, "absent"),
        (2, None),
    ]
    assert (case["heldUsd"], case["calledBackWith"]) == ("0.003", ["req-of-the-first"])
    assert (case["userId"], case["executionId"], case["model"]) == (
        one.user_id,
        one.execution_id,
        IMAGE_MODEL,
    )
    assert 600 <= case["ageSeconds"] < 660
    assert one.image.job_id in [orphan["supersedes"] for orphan in orphans]


async def test_show_redacts_the_callback_token_and_prints_search_terms(
    database: Database,
) -> None:
    one = await accept(database, new_execution(await new_user(database)))
    token = "x" * 48
    request = REQUEST | {
        "url": f"https://queue.fal.run/m?fal_webhook=https%3A%2F%2Fapi.test%2Fcallbacks%2Ffal%2F{token}"
    }
    body = {"webhook": f"https://api.test/callbacks/fal/{token}", "prompt": "A paper boat"}
    async with database.as_user(one.user_id) as conn:
        await begin_send(conn, one.image, 1, request | {"body": body}, {"prompt": "A paper boat"})
    async with database.as_system() as conn:
        case = await get_case(conn, one.image.job_id)
        with pytest.raises(LookupError):
            await get_case(conn, JobId("job_none"))
    assert token not in str(case)
    [send] = case["sends"]
    assert send["request"]["body"]["prompt"] == "A paper boat"
    assert len(send["callbackAddressContains"]) == 26
    assert (case["charge"]["heldUsd"], case["ledger"][0]["kind"]) == ("0.003", "held")


@pytest.mark.parametrize("of", ["all", "provider", "user"])
async def test_pause_stops_sends_of_its_scope_until_resumed(database: Database, of: str) -> None:
    one, other = [await accept(database, new_execution(await new_user(database))) for _ in range(2)]
    scope = {"all": ALL, "provider": provider_scope("fal"), "user": user_scope(one.user_id)}[of]

    async def begins(ref: JobRef) -> bool:
        async with database.as_user(ref.user_id) as conn:
            return await begin_send(conn, ref, 1, REQUEST, {}) is not None

    async with database.as_system() as conn:
        assert await pause(conn, scope, "look first")
        assert not await pause(conn, scope, "another reason")
    try:
        assert not await begins(one.image)
        assert await begins(other.video) is (scope != ALL)
        assert await begins(other.image) is (scope == user_scope(one.user_id))
    finally:
        async with database.as_system() as conn:
            assert await resume(conn, scope)
    assert await begins(one.image)
