"""Real parts for the activities: each test has a database of its own and an emptied,
quick sandbox.
"""

from collections.abc import AsyncGenerator, Iterator

import pytest

from tests.activities.bench import Bench, open_bench
from tests.activities.marks import no_mark
from tests.sandbox.process import Sandbox
from tests.support.servers import FreshDatabase, S3Server


@pytest.fixture(scope="session")
def bench_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    sandbox = Sandbox(tmp_path_factory.mktemp("bench-sandbox"))
    yield sandbox
    sandbox.stop()


@pytest.fixture
async def bench(
    fresh_database: FreshDatabase, bench_sandbox: Sandbox, s3_server: S3Server
) -> AsyncGenerator[Bench]:
    bench_sandbox.reset()
    async with open_bench(fresh_database, bench_sandbox, s3_server) as bench:
        yield bench


__all__ = ["bench", "bench_sandbox", "no_mark"]
