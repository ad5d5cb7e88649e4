"""Filtered lists read a bounded number of rows, however many executions the user has."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from itertools import product

import asyncpg
import pytest

from core.domain.ids import ExecutionId, UserId
from core.domain.plans import PlanType
from core.domain.states import ExecutionStatus
from core.store.database import Database
from core.store.executions.views import lists
from core.store.executions.views.lists import ExecutionFilter, ExecutionPage, list_executions
from core.store.money.reports.usage import get_usage
from tests.bench.growth import fill
from tests.support.plans import Explaining
from tests.support.rows import new_user
from tests.support.servers import PostgresServer, new_database

NOW = datetime.now(UTC)
EXECUTIONS = 2000
OPENED = 300
LIMIT = 5
PAGE_ROWS = 10 * LIMIT
"""What a page reads for its executions, jobs, steps, charges, webhooks and attempts, and more."""

# The planner then assumes that no execution is open, so an index of the open ones seems empty.
END_ALL = """
UPDATE executions SET status = 'completed', ended_at = now() WHERE status = 'running';
ANALYZE executions
"""
OPEN_SOME = f"""
UPDATE executions SET status = 'running', ended_at = NULL
WHERE execution_id IN (SELECT execution_id FROM executions ORDER BY execution_id DESC LIMIT {OPENED})
"""


class Filled:
    """A database with a user who has very many executions, all alike, and another user."""

    def __init__(self, database: Database, user_id: UserId) -> None:
        self.database = database
        self.user_id = user_id

    async def page(self, selection: ExecutionFilter) -> tuple[ExecutionPage, int]:
        """Return a page and the number of rows that it read."""
        async with self.database.reading_as(self.user_id) as conn:
            explaining, explained = Explaining.of(conn)
            page = await list_executions(explained, self.user_id, selection)
        assert [found for one in explaining.executed for found in one.sequential] == []
        return page, sum(one.rows_read for one in explaining.executed)


@pytest.fixture(scope="module")
async def filled(postgres_server: PostgresServer, template_database: str) -> AsyncGenerator[Filled]:
    async with (
        new_database(postgres_server, template_database) as fresh,
        Database.open(fresh.application_dsn, max_connections=2) as database,
    ):
        user_id = await new_user(database)
        await fill(fresh.owner_dsn, user_id, EXECUTIONS)
        owner = await asyncpg.connect(fresh.owner_dsn)
        await owner.execute("SET session_replication_role = replica")
        await owner.execute("ALTER TABLE executions SET (autovacuum_enabled = off)")
        await owner.execute(END_ALL)
        await owner.execute(OPEN_SOME)
        # The rows of the test fit into a few pages, which are cheaper to read from end to end.
        await owner.execute(f"ALTER DATABASE {fresh.name} SET enable_seqscan = off")
        await owner.close()
        async with Database.open(fresh.application_dsn, max_connections=2) as indexed:
            yield Filled(indexed, user_id)


@pytest.mark.parametrize(
    "selection",
    [
        ExecutionFilter(limit=LIMIT),
        ExecutionFilter(limit=LIMIT, statuses=[ExecutionStatus.COMPLETED]),
        ExecutionFilter(limit=LIMIT, statuses=[ExecutionStatus.CANCELLED, ExecutionStatus.RUNNING]),
        ExecutionFilter(limit=LIMIT, statuses=[ExecutionStatus.QUEUED]),
        ExecutionFilter(limit=LIMIT, metadata_key="orderId"),
        ExecutionFilter(limit=LIMIT, metadata_key="orderId", metadata_value="A-17"),
        ExecutionFilter(limit=LIMIT, metadata_key="environment", metadata_value="production"),
        ExecutionFilter(limit=LIMIT, metadata_key="orderId", metadata_value="B-1"),
        ExecutionFilter(limit=LIMIT, created_before=NOW - timedelta(days=15)),
        ExecutionFilter(limit=LIMIT, created_after=NOW + timedelta(days=1)),
        ExecutionFilter(limit=LIMIT, created_before=NOW - timedelta(days=31)),
    ],
    ids=[
        "none",
        "common status",
        "rare statuses",
        "unused status",
        "metadata name",
        "metadata value",
        "common metadata value",
        "unused metadata value",
        "older",
        "none newer",
        "none older",
    ],
)
async def test_filtered_page_reads_few_rows(filled: Filled, selection: ExecutionFilter) -> None:
    _, rows_read = await filled.page(selection)

    assert rows_read <= PAGE_ROWS + 4 * LIMIT, "reads rows that do not match"


async def test_every_combination_of_filters_reads_few_rows(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the planner assumes: it reads no index of all open executions for each candidate."""
    monkeypatch.setattr(lists, "EXAMINED", 100)
    middle = NOW - timedelta(days=15)
    excessive = dict[ExecutionFilter, int]()
    for statuses, metadata, created, type_ in product(
        (
            (),
            (ExecutionStatus.QUEUED,),
            (ExecutionStatus.RUNNING,),
            (ExecutionStatus.QUEUED, ExecutionStatus.RUNNING),
            (ExecutionStatus.FAILED, ExecutionStatus.COMPLETED),
        ),
        ((None, None), ("orderId", None), ("environment", "production"), ("environment", "test")),
        ((None, None), (middle, None), (None, middle), (middle, middle + timedelta(hours=1))),
        (None, PlanType.GENERATE_VIDEO),
    ):
        selection = ExecutionFilter(
            limit=LIMIT,
            statuses=statuses,
            metadata_key=metadata[0],
            metadata_value=metadata[1],
            created_after=created[0],
            created_before=created[1],
            type=type_,
        )
        _, rows_read = await filled.page(selection)
        # The candidates of each status, each candidate's row, and the page.
        if rows_read > (len(statuses) + 2) * lists.EXAMINED + PAGE_ROWS:
            excessive[selection] = rows_read

    assert excessive == {}


async def test_usage_reads_a_row_per_day_and_model(filled: Filled) -> None:
    async with filled.database.reading_as(filled.user_id) as conn:
        explaining, explained = Explaining.of(conn)
        usage = await get_usage(explained, filled.user_id)

    assert sum(model.jobs for model in usage.models) == 2 * EXECUTIONS
    assert sum(one.rows_read for one in explaining.executed) <= 6 * 31


async def test_unmatched_filters_end_the_page_at_a_bound(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cursor of a page without a match leads to the next match."""
    monkeypatch.setattr(lists, "EXAMINED", 8)
    page, found, pages = ExecutionPage(data=[], next_before_id=None), list[ExecutionId](), 0
    while pages == 0 or page.next_before_id is not None:
        page, rows_read = await filled.page(
            ExecutionFilter(
                limit=LIMIT,
                before_id=page.next_before_id,
                metadata_key="environment",
                metadata_value="test",
                statuses=[ExecutionStatus.FAILED],
            )
        )
        assert rows_read <= 2 * 8 + PAGE_ROWS
        found += [record.execution_id for record in page.data]
        pages += 1

    async with filled.database.reading_as(filled.user_id) as conn:
        rows = await conn.fetch(
            "SELECT execution_id FROM executions WHERE status = 'failed'"
            " AND metadata ->> 'environment' = 'test' ORDER BY execution_id DESC"
        )
    assert found == [row["execution_id"] for row in rows]
    assert (bool(found), pages > 1) == (True, True)
