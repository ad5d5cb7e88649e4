"""A Temporal server that skips time, with our search attributes."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from core.platform.temporal.search_attributes import SEARCH_ATTRIBUTES
from deploy.local.servers.programs import program
from tests.workflows.fake_activities import IDENTITY


@asynccontextmanager
async def skipping_client() -> AsyncGenerator[Client]:
    environment = await WorkflowEnvironment.start_time_skipping_v2(
        dev_server_existing_path=str(program("temporal")),
        dev_server_log_level="error",
        identity=IDENTITY,
        search_attributes=SEARCH_ATTRIBUTES,
        dev_server_extra_args=[
            "--dynamic-config-value",
            "frontend.WorkflowTimeSkippingEnabled=true",
            "--dynamic-config-value",
            'history.timerProcessorMaxTimeShift="1ms"',
        ],
    )
    try:
        yield environment.client
    finally:
        await environment.shutdown()
