"""`python worker.py recover`: shows what a recovery would do, asks a person, and does it."""

import argparse
import asyncio
import sys
from datetime import datetime

from activities.registration import open_activities
from cli.common import default_actor
from core.maintenance.histories import ExecutionHistories
from core.maintenance.recovery import Recovery
from core.platform.settings.processes import WorkerProcess
from core.platform.temporal.client import connect
from core.platform.temporal.payload_encryption import payload_converter

NAME = "recover"


def add_recover(parser: argparse.ArgumentParser) -> None:
    """The command, and what it takes."""
    commands = parser.add_subparsers(title="commands", dest="command", metavar=NAME)
    command = commands.add_parser(
        NAME,
        help="bring a database that was restored to the past up to date, from Temporal and the providers",
        description="Brings a database that was restored to the past up to date: rows from what the workflows were "
        "given, jobs from their histories and from the providers. Nothing is bought. Shows what it would do, and asks. "
        "Safe to repeat, also after it was killed.",
    )
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.add_argument(
        "--since",
        type=_time,
        metavar="TIME",
        help="look at workflows that were open then or later (ISO 8601, with its zone); default: a minute before the "
        "last send that the database knows",
    )
    command.add_argument(
        "--actor",
        default=default_actor(),
        help="who does it, for the audit log; default: %(default)s",
    )


async def recover(settings: WorkerProcess, arguments: argparse.Namespace) -> int:
    """Open the clients of a worker, without its task queues, and run the recovery."""
    client = await connect(settings, payloads=payload_converter(settings))
    async with open_activities(settings, client) as activities:
        recovery = Recovery(
            database=activities.database,
            objects=activities.objects,
            submitter=activities.jobs.submitter,
            histories=ExecutionHistories(client),
            show=say,
        )
        return await run_recovery(recovery, arguments)


async def run_recovery(recovery: Recovery, arguments: argparse.Namespace) -> int:
    """The exit code. Takes no work."""
    if not arguments.yes:
        for line in recovery.describe(await recovery.survey(arguments.since)):
            say(line)
        try:
            said = await asyncio.to_thread(input, "Go on? Type yes: ")
        except EOFError:
            sys.stderr.write("no terminal: say --yes\n")
            return 2
        if said.strip() != "yes":
            say("Nothing was changed.")
            return 1
    await recovery.run(arguments.since, arguments.actor)
    for line in recovery.for_operator:
        say(f"FOR A PERSON: {line}")
    say(
        "recovered: submits go on, start or restart the workers"
        if not recovery.for_operator
        else f"recovered, but for {len(recovery.for_operator)} that a person must look at, listed above"
    )
    return 0


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an ISO 8601 time") from None
    if time.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no time zone: add Z or +01:00")
    return time
