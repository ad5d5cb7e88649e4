"""The whole product on this machine, without Docker or root: `python -m deploy.local up|demo`."""

import argparse
import asyncio
import base64
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Final, NoReturn, cast

from cli.console.links import new_link
from cli.options import default_actor
from core.platform.crypto.sealing import Sealer
from deploy.local.config import ROOT, Config, Ports, read_config, read_some_keys, variable_of
from deploy.local.demo.prices import StepPrice, video_price
from deploy.local.demo.run import DURATION_SECONDS, PROMPT, RESOLUTION, demo, print_prices
from deploy.local.drill.run import drill
from deploy.local.keys import keep_keys
from deploy.local.live_check.run import Limits, ask, live_check
from deploy.local.ports import is_free
from deploy.local.product import product_environment
from deploy.local.servers.process import LocalError
from deploy.local.stack import Stack, prepared

ADMIN: Final = "admin"
# An action takes the started stack and returns the exit code.
Action = Callable[[Stack], Awaitable[int]]


def main() -> int:
    arguments, rest = _split(sys.argv[1:])
    options = _parser().parse_args(arguments)
    if options.pipeline and (options.live or options.command != "demo"):
        _parser().error("--pipeline is an option of demo, and runs in the sandbox: without --live")
    try:
        config = read_config(os.environ, live=options.live, observe=options.observe)
        if options.command == ADMIN:
            return administer(config, rest)
        if options.command == "worker":
            run_worker(config, options.build_id)
        if options.command == "drill":
            config = replace(config, folder=config.folder / "drill")
            return asyncio.run(run(config, partial(drill, say=say)))
        if options.command == "live-check":
            return asyncio.run(_check_live(config, options.max_usd, sandbox=options.sandbox))
        config = replace(config, operator=True)
        is_up = options.command == "up"
        action = stay_up if is_up else _demo_action(config, pipeline=options.pipeline)
        return 0 if action is None else asyncio.run(run(config, action))
    except BaseExceptionGroup as group:
        known, others = group.split((LocalError, OSError))
        if known is None or others is not None:
            raise
        lines = _lines(known)
    except (LocalError, OSError) as error:
        lines = [str(error)]
    except KeyboardInterrupt:
        lines = ["Stopped before anything was started"]
    print("\n".join(dict.fromkeys(lines)), file=sys.stderr)
    return 1


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the arguments of this program and those of `python -m cli`, also its --help."""
    at = arguments.index(ADMIN) + 1 if ADMIN in arguments else len(arguments)
    return arguments[:at], arguments[at:]


async def run(config: Config, action: Action) -> int:
    """Start the stack, run the action, stop the stack.

    The first Ctrl-C or SIGTERM stops everything in order, the second at once.
    """
    stopping = asyncio.Event()
    async with prepared(config, say) as stack:
        _on_signals(stack, stopping)
        say(f"Starting Takeone in {config.folder} (logs in {config.logs})")
        work = asyncio.ensure_future(_start_and(stack, action))
        waiting = asyncio.create_task(stopping.wait())
        await asyncio.wait([work, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not work.done():
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            say("Stopping ...")
            return 0
        return work.result()


async def _start_and(stack: Stack, action: Action) -> int:
    await stack.start()
    return await action(stack)


async def _check_live(config: Config, max_usd: Decimal, *, sandbox: bool) -> int:
    """Run the live check on a stack of its own; with the sandbox, nothing is spent or asked."""
    if sandbox:
        config = replace(config, folder=config.folder / "live-check")
        limits = Limits(max_usd=max_usd, confirm=lambda _total: True)
    else:
        keys = read_some_keys(os.environ)
        config = replace(config, folder=config.folder / "live", live=keys, sandbox_seconds=None)
        limits = Limits(max_usd=max_usd, confirm=ask)

    async def action(stack: Stack) -> int:
        return await live_check(stack, limits, say)

    return await run(config, action)


async def stay_up(stack: Stack) -> int:
    """Keep the stack running until a signal ends it."""
    config = stack.config
    say(
        f"Ready. Console {config.api_url}/console/, API docs {config.api_url}/docs, "
        f"Temporal Web UI {config.temporal_ui_url}; Ctrl-C stops everything."
    )
    if config.operator:
        sealer = Sealer([base64.b64decode(stack.keys.encryption_key)])
        link = new_link(sealer, config.operator_url, default_actor())
        say(f"Operator's console, once within 15 minutes: {link}")
    await asyncio.Event().wait()
    return 0


def _demo_action(config: Config, *, pipeline: bool) -> Action | None:
    """Return the demo as an action, or None if the user declines to spend money."""
    prices: list[StepPrice] = []
    if config.live is not None:
        prices = video_price(
            config.live, prompt=PROMPT, duration_seconds=DURATION_SECONDS, resolution=RESOLUTION
        )
        print_prices(prices)
        if not sys.stdin.isatty():
            raise LocalError(
                "The demo with real providers spends money and asks first: run it in a terminal"
            )
        if input("Spend this money? [y/N] ").strip().lower() not in ("y", "yes"):
            print("Nothing was started or bought")
            return None

    async def action(stack: Stack) -> int:
        code = await demo(stack, prices, pipeline=pipeline)
        return await stay_up(stack) if sys.stdout.isatty() else code

    return action


def _environment(config: Config) -> dict[str, str]:
    """Return the settings of the running stack. Raise LocalError if none was started."""
    if not config.folder.joinpath("postgres").exists():
        raise LocalError(f"No stack was started in {config.folder} yet: run `make up` first")
    return product_environment(config, keep_keys(config.folder), os.environ)


def run_worker(config: Config, build_id: str | None) -> NoReturn:
    """Become another worker of the running stack; with a build id, of that version."""
    environment = _environment(config) | {"METRICS_PORT": "0", "SDK_METRICS_PORT": "0"}
    if build_id is not None:
        environment["TEMPORAL_DEPLOYMENT_NAME"] = "takeone"
        environment["TEMPORAL_WORKER_BUILD_ID"] = build_id
    os.chdir(config.folder)
    os.execve(sys.executable, [sys.executable, str(ROOT / "worker.py")], environment)  # noqa: S606 - our own


def administer(config: Config, arguments: list[str]) -> int:
    """Run `python -m cli` with the settings of the running stack."""
    environment = _environment(config)
    code = subprocess.run(
        [sys.executable, "-m", "cli", *arguments], env=environment, cwd=config.folder, check=False
    ).returncode
    if code == 1 and is_free(config.ports.postgres):
        raise LocalError(
            f"Nothing listens on port {config.ports.postgres}: is the stack running (make up)?"
        )
    return code


def say(line: str) -> None:
    print(line, flush=True)


def _on_signals(stack: Stack, stopping: asyncio.Event) -> None:
    def stop() -> None:
        if stopping.is_set():
            stack.kill()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)


def _lines(error: BaseException) -> list[str]:
    if not isinstance(error, BaseExceptionGroup):
        return [str(error)]
    group = cast("BaseExceptionGroup[BaseException]", error)
    return [line for part in group.exceptions for line in _lines(part)]


def _parser() -> argparse.ArgumentParser:
    ports = ", ".join(variable_of(name) for name in Ports.__dataclass_fields__)
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local",
        description=__doc__,
        epilog=f"Settings: TAKEONE_DATA_DIR (the folder for everything, default ./var); ports: {ports}. "
        "ALLOWED_PRIVATE_HOSTS: host:port of webhook receivers on this machine (127.0.0.1:9000,localhost:9000). "
        "FAL_KEY and REPLICATE_API_TOKEN are used with --live only, and never otherwise.",
    )
    parser.add_argument(
        "command",
        choices=["up", "demo", ADMIN, "worker", "drill", "live-check"],
        help="up: start and keep running; demo: also make one video; admin …: python -m cli for the running stack; "
        "worker: another worker for it; drill: lose and restore a database; "
        "live-check: buy the cheapest things at each provider once",
    )
    parser.add_argument(
        "--build-id", metavar="NAME", help="of worker: its version; default: a worker without one"
    )
    parser.add_argument(
        "--live", action="store_true", help="use the real providers; this spends money"
    )
    parser.add_argument(
        "--max-usd", type=Decimal, default=Decimal(1), help="of live-check: the most it may spend"
    )
    parser.add_argument(
        "--sandbox", action="store_true", help="of live-check: use the sandbox; this spends nothing"
    )
    parser.add_argument(
        "--observe",
        action="store_true",
        help="also run Prometheus with the rules of deploy/prometheus/, if it is installed",
    )
    parser.add_argument(
        "--pipeline",
        action="store_true",
        help="of demo: make a film of a picture, a clip, a voice, music and captions",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
