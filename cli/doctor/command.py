"""`takeone-admin doctor` and `takeone-admin backup-check`: checks that print findings."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli.doctor.backup import check_files, check_marker, check_wal
from cli.doctor.database import open_database
from cli.doctor.examination import check_settings, examine
from cli.doctor.finding import Finding, Level, count
from cli.options import AsJson
from cli.output import Shown, show
from cli.session import ExitCode
from core.platform.observability.logging import configure_logging
from core.platform.settings.load import load, secret_values
from core.platform.settings.processes import BackupCheckProcess


async def doctor(*, as_json: AsJson = False) -> Shown:
    """Check this installation before it goes live: each line is OK, WARN or FAIL, and what to do.

    Checks settings, database, object storage, Temporal, providers, clocks, callbacks and limits,
    with the settings of API and worker. Buys nothing. In object storage it writes, reads and
    deletes three small probes; it changes nothing else. Callbacks are tried from this machine, not
    from outside. Exit code 1: at least one FAIL.
    """
    findings, settings = check_settings()
    if settings is not None:
        configure_logging("CRITICAL", settings.log_format, secrets=secret_values(settings))
        findings += await examine(settings)
    return _show(findings, as_json=as_json)


async def backup_check(
    *,
    file: Annotated[
        list[Path] | None,
        typer.Option(
            "--file",
            metavar="PATH",
            help="Backup files: the newest that matches is checked, for example "
            "'/backups/*.dump'. Repeatable.",
        ),
    ] = None,
    max_age: Annotated[
        float,
        typer.Option("--max-age", metavar="HOURS", min=0, help="The age limit of backup files."),
    ] = 26.0,
    max_wal_minutes: Annotated[
        float,
        typer.Option(
            "--max-wal-minutes", metavar="MINUTES", min=0, help="The age limit of archived WAL."
        ),
    ] = 15.0,
    as_json: AsJson = False,
) -> Shown:
    """Check backups: archived WAL, backup files, and the restore marker against the database.

    Reads only. It checks ages and sizes, not the content: restore a backup regularly to prove it.
    Needs the settings of the database and of object storage. Exit code 1: at least one FAIL.
    """
    settings = load(BackupCheckProcess)
    configure_logging("CRITICAL", settings.log_format, secrets=secret_values(settings))
    async with open_database(settings) as database:
        async with database.as_system() as conn:
            findings = [await check_wal(conn, max_seconds=max_wal_minutes * 60)]
        findings += [await check_files(path, max_seconds=max_age * 3600) for path in file or ()]
        findings.append(await check_marker(database, settings))
    return _show(findings, as_json=as_json)


def _show(findings: list[Finding], *, as_json: bool) -> Shown:
    code = ExitCode.FAILED if count(findings, Level.FAIL) else ExitCode.DONE
    if as_json:
        report = {"ok": code == ExitCode.DONE, "findings": [asdict(each) for each in findings]}
        return show(report, as_json, code=code)
    return Shown(_as_text(findings), code)


def _as_text(findings: list[Finding]) -> str:
    width = max(len(finding.check) for finding in findings)
    lines = list[str]()
    for finding in findings:
        lines.append(f"{finding.level:<4}  {finding.check:<{width}}  {finding.text}")
        if finding.action:
            lines.append(f"{'':<{width + 8}}→ {finding.action}")
    warnings, failures = count(findings, Level.WARN), count(findings, Level.FAIL)
    lines.append(f"{len(findings)} checks: {failures} FAIL, {warnings} WARN")
    return "\n".join(lines)
