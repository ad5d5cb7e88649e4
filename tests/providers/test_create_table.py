"""The tables of docs/reference/create-calls.md: each row compared with a run on a raw socket."""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core.domain.failures import STOPS_A_PROVIDER
from core.providers.port import CreateAnswer, CreateOutcome
from core.providers.registry import PROVIDER_NAMES, Providers
from tests.providers.create_cases import CALLBACK_URL, Case, close_unread, rows_of
from tests.providers.wire import Wire, free_port, full_inputs, serving, settings, submit

pytestmark = pytest.mark.guarantee("G1")

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "create-calls.md"
SOURCES = {"documented", "client", "recorded", "socket", "our rule"}


def tables() -> dict[str, dict[str, tuple[str, str, str]]]:
    """Return class, action and source by provider and event."""
    found: dict[str, dict[str, tuple[str, str, str]]] = {}
    for section in re.split(
        r"^### Create calls: ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE
    )[1:]:
        name, _, text = section.partition("\n")
        lines = [line for line in text.split("\n#")[0].splitlines() if line.startswith("| ")]
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        found[name.strip().lower()] = {row[0]: (row[1], row[2], row[3]) for row in cells[2:]}
    return found


TABLES = tables()


def test_every_provider_has_a_table_and_every_row_its_source() -> None:
    assert sorted(TABLES) == sorted(PROVIDER_NAMES)
    for vendor, table in TABLES.items():
        assert set(table) == set(rows_of(vendor))
        for what, (_, _, source) in table.items():
            assert source.partition(":")[0] in SOURCES, what


@pytest.fixture
def full_port() -> Iterator[int]:
    """Yield a port whose connection queue is full, so that the kernel accepts no more."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
        for one in waiting:
            one.close()


@asynccontextmanager
async def other_side(
    case: Case, ca: Path, full_port: int
) -> AsyncGenerator[tuple[str, Wire | None]]:
    """Yield the address of the case's request, with the case's server running if it has one."""
    ports = {"port": free_port(), "full": full_port}
    if case.script is not None:
        async with serving(case.script) as wire:
            ports["port"] = int(wire.url.rpartition(":")[2])
            yield case.address.format(**ports, tls=0), wire
    elif "{tls}" in case.address:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(ca / "cert.pem", ca / "key.pem")
        async with serving(close_unread, tls=context) as wire:
            yield case.address.format(**ports, tls=wire.url.rpartition(":")[2]), None
    else:
        yield case.address.format(**ports, tls=0), None


def then(answer: CreateAnswer) -> str:
    if answer.outcome is CreateOutcome.ACCEPTED:
        assert answer.handle is not None
        return "waited for"
    if answer.failure is None:
        return "looked up"
    if answer.failure.code in STOPS_A_PROVIDER:
        return f"waits: `{answer.failure.code}`"
    return "sent again" if answer.failure.retryable else f"fails: `{answer.failure.code}`"


@pytest.mark.parametrize(
    ("vendor", "what"),
    [(vendor, what) for vendor in PROVIDER_NAMES for what in rows_of(vendor)],
    ids=lambda text: text[:40],
)
async def test_row_matches_the_observed_result(
    vendor: str, what: str, test_ca: Path, full_port: int
) -> None:
    expected = TABLES[vendor][what]
    for number, case in enumerate(rows_of(vendor)[what]):
        async with (
            other_side(case, test_ca, full_port) as (address, wire),
            Providers.open(settings(address)) as ours,
        ):
            provider = ours.provider(vendor)
            model = provider.models[0]
            request = provider.create_request(model, full_inputs(model), CALLBACK_URL)
            ago = 6.0 if case.late else 0.0
            answer = await submit(provider, request, timeout_seconds=case.seconds, ago_seconds=ago)
            await asyncio.sleep(0)
        assert (answer.outcome.replace("_", " "), then(answer)) == expected[:2], (number, answer)
        assert len(answer.note) < 60
        assert wire is None or (wire.connections == 1 and len(wire.received) <= 1)
