"""The benchmark `streams` at a size that takes seconds: it runs, and has each of its figures."""

import argparse
import re

import pytest

from tests.bench import streams
from tests.support.servers import FreshDatabase

SMALL = [
    "--streams=6",
    "--processes=1",
    "--watching=3",
    "--changes=2",
    "--settle=0",
    "--executions=1",
    "--rounds=1",
]


@pytest.mark.timeout(120)
async def test_stream_benchmark_measures_at_a_small_size(fresh_database: FreshDatabase) -> None:
    parser = argparse.ArgumentParser()
    streams.add_options(parser)
    said: list[str] = []
    await streams.measure(parser.parse_args(SMALL), said.append, fresh_database)
    costs, opened = said
    (events,) = re.findall(r"events per execution.*?([\d.]+)", costs)
    assert float(events) > 1
    for figure in ("KiB per stream", "seconds to open all", "one change to 3 streams"):
        assert figure in opened
