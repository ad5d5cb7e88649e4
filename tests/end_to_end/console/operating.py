"""The operator's console in this process, on the database of a running stack."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cli.console.application import OperatorConsole
from cli.console.links import new_link
from cli.console.server import SharedSession, listen, make_server, origin_of
from cli.console.sessions import OperatorSessions
from core.platform.crypto.sealing import Sealer
from core.platform.settings.processes import OperatorConsoleProcess
from core.store.database import Database
from deploy.local.stack import Stack
from tests.end_to_end.console.browser import Tab

NEEDED = ("DATABASE_URL", "ENCRYPTION_KEYS", "TEMPORAL_UI_URL", "TEMPORAL_NAMESPACE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operating:
    """A console that is served. origin: its address."""

    origin: str
    sealer: Sealer

    def new_link(self) -> str:
        return new_link(self.sealer, self.origin, "Ada")

    async def log_in(self, tab: Tab) -> None:
        """Open the console by a one-time link."""
        await tab.page.goto(self.new_link())
        await tab.page.get_by_role("navigation", name="Screens").wait_for()


@asynccontextmanager
async def operating(stack: Stack) -> AsyncGenerator[Operating]:
    settings = OperatorConsoleProcess.model_validate(
        {name.lower(): stack.environment[name] for name in NEEDED}
    )
    url = settings.database_url.get_secret_value()
    with listen("127.0.0.1", 0) as listener:
        async with Database.open(url, max_connections=2, generic_plans=False) as database:
            session = SharedSession(lambda: settings, database)
            console = OperatorConsole(
                session,
                OperatorSessions(session.sealer),
                workflows_url=settings.temporal_workflows_url,
            )
            server = make_server(console)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                yield Operating(origin=origin_of(listener), sealer=session.sealer)
            finally:
                server.should_exit = True
                await serving
