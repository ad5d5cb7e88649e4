"""Jobs: every transition accepts exactly the states of the table; late writers change nothing."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from typing import Any

import asyncpg
import pytest

from core.domain.failures import Failure, FailureCode
from core.domain.ids import JobId, ProviderJobId, new_job_id
from core.domain.messages.jobs import JobRef, ProviderHandle
from core.domain.states import JOB_MOVES, JobState
from core.store.database import Connection, Database
from core.store.executions.executions import mark_cancel_requested
from core.store.executions.retries import INSERT_JOB
from core.store.jobs.callbacks import CallbackOutcome, NewCallback, record_callback
from core.store.jobs.jobs import cancel_waiting_jobs, get_job, mark_job_ended
from core.store.jobs.orphans import return_to_waiting
from core.store.jobs.sends import (
    begin_send,
    mark_submitted,
    mark_unknown,
    mark_waiting,
    withdraw_send,
)
from core.store.jobs.submit_pauses import (
    ALL,
    model_scope,
    pause,
    provider_scope,
    resume,
    user_scope,
)
from tests.support.rows import (
    IMAGE,
    IMAGE_MODEL,
    VIDEO_MODEL,
    Accepted,
    accept,
    new_execution,
    new_user,
)
from tests.support.servers import FreshDatabase, PostgresServer, new_database

pytestmark = pytest.mark.guarantee("G1")

Move = Callable[[Connection, JobRef], Awaitable[object]]


@pytest.fixture(scope="module")
async def fresh(
    postgres_server: PostgresServer, template_database: str
) -> AsyncGenerator[FreshDatabase]:
    async with new_database(postgres_server, template_database) as made:
        yield made


@pytest.fixture(scope="module")
async def database(fresh: FreshDatabase) -> AsyncGenerator[Database]:
    """Share one database among the tests of this module; each test creates its own users."""
    async with Database.open(fresh.application_dsn, max_connections=6) as opened:
        yield opened


def handle(name: str) -> ProviderHandle:
    return ProviderHandle(provider="fal", model=IMAGE_MODEL, provider_job_id=ProviderJobId(name))


async def accepted(database: Database) -> Accepted:
    return await accept(database, new_execution(await new_user(database)))


async def put_in(fresh: FreshDatabase, job_id: JobId, state: JobState, *, never_sent: bool) -> None:
    """Set a job's state directly, with send 1 as the current send.

    never_sent: a waiting job has no send yet.
    """
    connection = await asyncpg.connect(fresh.owner_dsn)
    try:
        await connection.execute(
            "UPDATE jobs SET state = $2, send_number = $3, provider_job_id = $4 WHERE job_id = $1",
            job_id,
            state,
            0 if state is JobState.WAITING and never_sent else 1,
            f"old-{job_id}" if state is JobState.SUBMITTED else None,
        )
    finally:
        await connection.close()


async def _cancel_waiting(conn: Connection, ref: JobRef) -> object:
    return ref.job_id in await cancel_waiting_jobs(conn, ref.execution_id)


async def _submitted(conn: Connection, ref: JobRef) -> object:
    return await mark_submitted(conn, ref.job_id, 1, handle(f"new-{ref.job_id}"))


async def _called_back(conn: Connection, ref: JobRef) -> object:
    await conn.execute("SET LOCAL ROLE takeone_system")
    new = NewCallback(
        provider="fal",
        delivery_id=ref.job_id,
        job_id=ref.job_id,
        send_number=1,
        provider_job_id=ProviderJobId(f"new-{ref.job_id}"),
    )
    return await record_callback(conn, new) is CallbackOutcome.ADOPTED


MOVES: list[tuple[str, Move, JobState, set[JobState]]] = [
    (
        "begin_send",
        lambda c, r: begin_send(c, r, 1, {}, {}),
        JobState.SUBMITTING,
        {JobState.WAITING},
    ),
    (
        "mark_submitted",
        _submitted,
        JobState.SUBMITTED,
        {JobState.SUBMITTING, JobState.UNKNOWN, JobState.WAITING},
    ),
    (
        "record_callback",
        _called_back,
        JobState.SUBMITTED,
        {JobState.SUBMITTING, JobState.UNKNOWN, JobState.WAITING},
    ),
    (
        "mark_unknown",
        lambda c, r: mark_unknown(c, r.job_id, 1),
        JobState.UNKNOWN,
        {JobState.SUBMITTING},
    ),
    (
        "mark_waiting",
        lambda c, r: mark_waiting(c, r.job_id, 1),
        JobState.WAITING,
        {JobState.SUBMITTING, JobState.UNKNOWN},
    ),
    (
        "return_to_waiting",
        lambda c, r: return_to_waiting(c, r.job_id, 1, None),
        JobState.WAITING,
        {JobState.SUBMITTED},
    ),
    ("cancel_waiting_jobs", _cancel_waiting, JobState.CANCELLED, {JobState.WAITING}),
]


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize(("name", "move", "to", "from_"), MOVES, ids=[move[0] for move in MOVES])
async def test_job_move_accepts_exactly_its_states(
    database: Database,
    fresh: FreshDatabase,
    name: str,
    move: Move,
    to: JobState,
    from_: set[JobState],
    state: JobState,
) -> None:
    assert all(to in JOB_MOVES[source] for source in from_), f"{name} is not in the table of moves"
    image = (await accepted(database)).image
    await put_in(fresh, image.job_id, state, never_sent=name == "begin_send")
    async with database.as_user(image.user_id) as conn:
        moved = await move(conn, image)
    async with database.as_user(image.user_id) as conn:
        after = (await get_job(conn, image.job_id)).state
    assert bool(moved) is (state in from_)
    assert after is (to if state in from_ else state)


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("end", [JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED])
async def test_job_ends_only_from_the_states_it_is_expected_in(
    database: Database, fresh: FreshDatabase, state: JobState, end: JobState
) -> None:
    image = (await accepted(database)).image
    await put_in(fresh, image.job_id, state, never_sent=True)
    expected = tuple(source for source, to in JOB_MOVES.items() if end in to)
    async with database.as_user(image.user_id) as conn:
        assert await mark_job_ended(conn, image.job_id, end, None, expected=expected) is (
            state in expected
        )
        assert (await get_job(conn, image.job_id)).state is (end if state in expected else state)


async def test_job_table_has_a_function_for_every_move() -> None:
    covered = {(source, to) for _, _, to, from_ in MOVES for source in from_}
    ends = {(source, to) for source, all_to in JOB_MOVES.items() for to in all_to if to.ended}
    assert covered | ends == {(source, to) for source, all_to in JOB_MOVES.items() for to in all_to}


async def test_job_of_a_step_is_open_once(database: Database) -> None:
    one = await accepted(database)
    with pytest.raises(asyncpg.UniqueViolationError):
        async with database.as_user(one.user_id) as conn:
            await conn.execute(
                INSERT_JOB,
                new_job_id(),
                one.execution_id,
                IMAGE,
                one.user_id,
                1,
                "fal",
                IMAGE_MODEL,
                None,
                [],
            )


async def test_intent_is_refused_after_a_cancel_and_for_another_generation(
    database: Database,
) -> None:
    one = await accepted(database)
    other = JobRef(
        user_id=one.user_id, execution_id=one.execution_id, job_id=one.image.job_id, generation=2
    )
    async with database.as_user(one.user_id) as conn:
        assert await begin_send(conn, other, 1, {}, {}) is None
        assert await mark_cancel_requested(conn, one.execution_id, "enough", generation=1)
    async with database.as_user(one.user_id) as conn:
        assert await begin_send(conn, one.image, 1, {}, {}) is None
        assert (await get_job(conn, one.image.job_id)).state is JobState.WAITING


async def test_late_answer_of_the_current_send_is_adopted(database: Database) -> None:
    image = (await accepted(database)).image
    async with database.as_user(image.user_id) as conn:
        assert await begin_send(conn, image, 1, {}, {})
        assert await mark_unknown(conn, image.job_id, 1)
        assert await mark_submitted(conn, image.job_id, 1, handle(image.job_id))
        assert await mark_submitted(
            conn, image.job_id, 1, handle(image.job_id)
        )  # the callback was faster, which is success
        assert not await mark_submitted(conn, image.job_id, 1, handle("another"))


async def test_late_answers_of_a_superseded_send_change_nothing(database: Database) -> None:
    image = (await accepted(database)).image
    async with database.as_user(image.user_id) as conn:
        assert await begin_send(conn, image, 1, {}, {})
        assert await mark_waiting(conn, image.job_id, 1)
        assert await begin_send(conn, image, 2, {}, {})
        assert not await mark_submitted(conn, image.job_id, 1, handle(image.job_id))
        assert not await mark_waiting(conn, image.job_id, 1)
        assert not await mark_unknown(conn, image.job_id, 1)
        job = await get_job(conn, image.job_id)
    assert (job.state, job.send_number, job.handle) == (JobState.SUBMITTING, 2, None)


async def test_serials_of_sends_only_grow(database: Database) -> None:
    """A smaller serial reveals a database that was restored from an older backup."""
    serials: list[int] = []
    for _ in range(3):
        image = (await accepted(database)).image
        async with database.as_user(image.user_id) as conn:
            serial = await begin_send(conn, image, 1, {}, {})
        assert serial is not None
        serials.append(serial)
    assert serials == sorted(set(serials))


@pytest.mark.parametrize("scope", ["all", "provider", "model", "user"])
async def test_intent_is_refused_while_its_submits_are_paused(
    database: Database, scope: str
) -> None:
    image, other = (await accepted(database)).image, (await accepted(database)).image
    named = {
        "all": ALL,
        "provider": provider_scope("fal"),
        "model": model_scope(IMAGE_MODEL),
        "user": user_scope(image.user_id),
    }[scope]
    async with database.as_system() as conn:
        assert await pause(conn, provider_scope("another"), "why not")
        assert await pause(conn, model_scope(VIDEO_MODEL), "why not")
        assert await pause(conn, named, "why not")
    try:
        async with database.as_user(image.user_id) as conn:
            assert await begin_send(conn, image, 1, {}, {}) is None
            assert (await get_job(conn, image.job_id)).state is JobState.WAITING
        async with database.as_user(other.user_id) as conn:
            assert (await begin_send(conn, other, 1, {}, {}) is not None) is (scope == "user")
    finally:
        async with database.as_system() as conn:
            await resume(conn, named)
            await resume(conn, provider_scope("another"))
            await resume(conn, model_scope(VIDEO_MODEL))
    async with database.as_user(image.user_id) as conn:
        assert await begin_send(conn, image, 1, {}, {}) is not None


async def started(database: Database, act: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start something and return it as soon as it waits for a lock."""
    task = asyncio.create_task(act)
    async with asyncio.timeout(10):
        while not await is_waiting(database):
            assert not task.done(), "it waited for nothing"
            await asyncio.sleep(0.02)
    return task


async def is_waiting(database: Database) -> bool:
    async with database.as_system() as conn:
        return await conn.fetchval(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid IN"
            " (SELECT pid FROM pg_stat_activity WHERE datname = current_database()))"
        )


@pytest.mark.parametrize("locked", ["executions", "jobs"])
async def test_intent_that_waited_for_a_row_sees_the_pause(database: Database, locked: str) -> None:
    image = (await accepted(database)).image
    serials: list[int | None] = []

    async def intend() -> None:
        async with database.as_user(image.user_id) as conn:
            serials.append(await begin_send(conn, image, 1, {}, {}))

    scope = user_scope(image.user_id)
    lock = f"SELECT FROM {locked} WHERE execution_id = $1 FOR UPDATE"
    async with database.as_system() as holder:
        await holder.execute(lock, image.execution_id)
        intent = await started(database, intend())
        async with database.as_system() as conn:
            assert await pause(conn, scope, "why not")  # waits for nothing
    await intent
    async with database.as_user(image.user_id) as conn:
        assert serials == [None]
        assert (await get_job(conn, image.job_id)).state is JobState.WAITING
    async with database.as_system() as conn:
        await resume(conn, scope)


async def test_pause_waits_for_an_intent_that_is_not_committed(database: Database) -> None:
    image = (await accepted(database)).image
    scope = user_scope(image.user_id)
    states: list[JobState] = []

    async def pause_all() -> None:
        async with database.as_system() as conn:
            await pause(conn, scope, "why not")
            states.append((await get_job(conn, image.job_id)).state)

    async with database.as_user(image.user_id) as conn:
        assert await begin_send(conn, image, 1, {}, {})
        pausing = await started(database, pause_all())
    await pausing
    assert states == [JobState.SUBMITTING]
    async with database.as_system() as conn:
        await resume(conn, scope)


async def test_deadline_counts_from_the_latest_send_only(
    database: Database,
) -> None:
    image = (await accepted(database)).image
    async with database.as_user(image.user_id) as conn:
        await begin_send(conn, image, 1, {}, {})
    async with database.as_user(image.user_id) as conn:
        first = (await get_job(conn, image.job_id)).deadline_at
        refusal = Failure.of(FailureCode.PROVIDER_RATE_LIMITED)
        assert await mark_waiting(conn, image.job_id, 1, refusal)
        waiting = await get_job(conn, image.job_id)
        assert (waiting.deadline_at, waiting.failure, waiting.late) == (None, refusal, False)
    async with database.as_user(image.user_id) as conn:
        await begin_send(conn, image, 2, {}, {})
        again = await get_job(conn, image.job_id)
    assert first is not None
    assert again.deadline_at is not None
    assert (again.deadline_at > first, again.failure) == (True, None)


@pytest.mark.parametrize("late", [True, False])
async def test_waiting_job_fails_with_its_refusal_at_the_deadline(
    database: Database, fresh: FreshDatabase, late: bool
) -> None:
    one = await accepted(database)
    refusal = Failure.of(FailureCode.PROVIDER_UNAVAILABLE)
    async with database.as_user(one.user_id) as conn:
        await begin_send(conn, one.image, 1, {}, {})
        await mark_waiting(conn, one.image.job_id, 1, refusal)
    if late:
        owner = await asyncpg.connect(fresh.owner_dsn)
        await owner.execute(
            "UPDATE executions SET deadline_at = now() WHERE execution_id = $1", one.execution_id
        )
        await owner.close()
    async with database.as_user(one.user_id) as conn:
        assert set(await cancel_waiting_jobs(conn, one.execution_id)) == {
            one.image.job_id,
            one.video.job_id,
        }
        image, video = await get_job(conn, one.image.job_id), await get_job(conn, one.video.job_id)
    assert (image.state, image.failure) == (
        (JobState.FAILED, refusal) if late else (JobState.CANCELLED, None)
    )
    assert (video.state, video.failure) == (JobState.CANCELLED, None)


async def test_intent_is_taken_back_by_its_own_sender_alone(database: Database) -> None:
    image = (await accepted(database)).image
    async with database.as_user(image.user_id) as conn:
        assert await withdraw_send(conn, image.job_id, "me") is None
        assert await begin_send(conn, image, 1, {}, {}, sender="me")
        assert await withdraw_send(conn, image.job_id, "another sender") is None
        assert await mark_unknown(conn, image.job_id, 1)  # another caller has begun to look for it
        assert await withdraw_send(conn, image.job_id, "me") == 1
        assert (await get_job(conn, image.job_id)).state is JobState.WAITING
        assert await begin_send(conn, image, 2, {}, {}, sender="successor")
        assert await withdraw_send(conn, image.job_id, "me") is None
        assert (await get_job(conn, image.job_id)).state is JobState.SUBMITTING


async def test_late_answer_is_adopted_before_the_next_send(
    database: Database,
) -> None:
    image = (await accepted(database)).image
    async with database.as_user(image.user_id) as conn:
        assert await begin_send(conn, image, 1, {}, {})
        assert await mark_waiting(conn, image.job_id, 1)
        assert await mark_submitted(conn, image.job_id, 1, handle(f"late-{image.job_id}"))
        job = await get_job(conn, image.job_id)
        assert await begin_send(conn, image, 2, {}, {}) is None
    assert (job.state, job.deadline_at is not None) == (JobState.SUBMITTED, True)
