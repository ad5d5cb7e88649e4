"""`takeone-admin recover`: rebuild a database that was restored from an older backup."""

import asyncio
import sys
from datetime import datetime
from typing import Annotated

import typer
from temporalio.service import RPCError

from activities.registration import open_activities
from cli.options import Actor, utc_time
from cli.output import Shown
from cli.session import ExitCode, FailedError
from core.maintenance.restores.histories import ExecutionHistories
from core.maintenance.restores.recovery import CANNOT_RECOVER, Recovery
from core.platform.observability.logging import configure_logging
from core.platform.settings.load import load, secret_values
from core.platform.settings.processes import WorkerProcess
from core.platform.temporal.client import TemporalConnectError, connect
from core.platform.temporal.payload_encryption import payload_converter


async def recover(
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    since: Annotated[
        datetime | None,
        typer.Option(
            "--since",
            metavar="TIME",
            parser=utc_time,
            help="Read workflows that were open at this time or later (ISO 8601 with a time zone). "
            "Default: one minute before the last send in the database.",
        ),
    ] = None,
    actor: Actor,
) -> Shown:
    """Rebuild a database that was restored from an older backup, from Temporal and the providers.

    Restores executions from the memos of their workflows, and jobs from workflow histories and
    provider lists. Buys nothing. Prints what it would do and asks first. Safe to repeat, also after
    an interruption. It needs the settings of a worker.
    """
    settings = load(WorkerProcess)
    configure_logging(settings.log_level, settings.log_format, secrets=secret_values(settings))
    try:
        client = await connect(settings, payloads=payload_converter(settings))
        async with open_activities(settings, client) as activities:
            recovery = Recovery(
                database=activities.database,
                files=activities.assets.files,
                submitter=activities.jobs.submitter,
                histories=ExecutionHistories(client),
                show=_print,
            )
            return await _run(recovery, yes=yes, since=since, actor=actor)
    except (TemporalConnectError, RPCError, *CANNOT_RECOVER) as error:
        raise FailedError(" ".join(str(error).split()) or type(error).__name__) from None


async def _run(recovery: Recovery, *, yes: bool, since: datetime | None, actor: str) -> Shown:
    if not yes:
        for line in recovery.describe(await recovery.survey(since)):
            _print(line)
        try:
            answer = await asyncio.to_thread(input, "Continue? Type yes: ")
        except EOFError:
            sys.stderr.write("There is no terminal to ask on: confirm with --yes\n")
            return Shown("", ExitCode.REFUSED)
        if answer.strip() != "yes":
            return Shown("Nothing was changed.", ExitCode.FAILED)
    await recovery.run(since, actor)
    for line in recovery.for_operator:
        _print(f"FOR AN OPERATOR: {line}")
    if recovery.for_operator:
        number = len(recovery.for_operator)
        return Shown(f"recovered; {number} jobs need an operator, listed above")
    return Shown("recovered: submits continue; start or restart the workers")


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
