"""Checks of the providers: keys, look-up horizons, and clocks against the database's."""

import asyncio
from datetime import UTC, datetime
from typing import Final

import asyncpg

from cli.doctor.database import open_database
from cli.doctor.finding import Finding, fail, ok, warn
from cli.doctor.temporal import horizons
from core.jobs.lookups.absence import CLOCK_TOLERANCE_SECONDS
from core.platform.clock import ClockOffset, boot_seconds
from core.platform.settings.processes import WorkerProcess
from core.platform.settings.providers import ProviderSettings
from core.platform.urls import reach
from core.providers.http.transport import ProviderHttp
from core.providers.port import Provider, ProviderUnavailableError
from core.providers.registry import Providers, provider_address
from core.store.database import DATABASE_DOWN

READ_CLOCK: Final = "SELECT clock_timestamp()"


async def check_providers(settings: WorkerProcess) -> list[Finding]:
    """Check each configured provider by reads that cost nothing."""
    async with Providers.open(settings) as providers:
        offered = [providers.provider(name) for name in providers.names]
        keys = await asyncio.gather(*(_check_key(provider, settings) for provider in offered))
        missing = sorted(set(providers.known_names).difference(providers.names))
    unused = ok("providers.offered", f"offered: {', '.join(providers.names)}")
    if missing:
        unused = ok("providers.offered", f"{unused.text}; without a key: {', '.join(missing)}")
    return [unused, *keys, *_check_horizons(settings)]


async def _check_key(provider: Provider, settings: WorkerProcess) -> Finding:
    check, name = "providers.key", provider.name
    address = provider_address(settings, name)
    try:
        accepted = await provider.check_key()
    except ProviderUnavailableError as error:
        action = "check the address, the firewall and the provider's status page"
        return fail(check, f"{name} is unreachable at {address}: {error}", action)
    if not accepted:
        return fail(
            check, f"{name} refuses the key", "set a valid key, and restart API and workers"
        )
    if reach(address) == "loopback":
        text = f"{name} is played by a server of this machine ({address})"
        return warn(check, text, "remove the address setting to use the real provider")
    return ok(check, f"{name} accepts the key")


def _check_horizons(settings: WorkerProcess) -> list[Finding]:
    """Check that no horizon of a remote provider is below its default, which was reasoned."""
    check, findings = "providers.horizons", list[Finding]()
    for name, seconds in horizons(settings).items():
        default = int(ProviderSettings.model_fields[name].default)
        vendor = name.partition("_")[0]
        if seconds < default and reach(provider_address(settings, vendor)) != "loopback":
            text = f"{name.upper()} is {seconds} s, below the default of {default} s"
            action = "too short a horizon buys twice: return to the default unless it was measured"
            findings.append(warn(check, text, action))
    return findings or [ok(check, "no horizon of a remote provider is below its default")]


async def check_clocks(settings: WorkerProcess) -> list[Finding]:
    """Compare the clocks of this machine and of the providers with the database's.

    A lost create call is proven absent only while provider and database agree.
    """
    before = boot_seconds()
    here = ClockOffset.measured(datetime.now(UTC), before=before, after=boot_seconds())
    try:
        async with open_database(settings) as database, database.as_system() as conn:
            before = boot_seconds()
            at = await conn.fetchval(READ_CLOCK)
            stored = ClockOffset.measured(at, before=before, after=boot_seconds())
    except (asyncpg.PostgresError, *DATABASE_DOWN):
        return [fail("clocks.database", "the database's clock cannot be read", "see database.*")]
    async with Providers.open(settings) as providers, ProviderHttp() as http:
        clocks = [await _check_clock(http, name, settings, stored) for name in providers.names]
    return [_compare("clocks.machine", "this machine", here, stored), *clocks]


async def _check_clock(
    http: ProviderHttp, name: str, settings: WorkerProcess, stored: ClockOffset
) -> Finding:
    check = "clocks.provider"
    try:
        clock = (await http.read("GET", provider_address(settings, name))).clock
    except ProviderUnavailableError as error:
        return fail(check, f"{name} is unreachable: {error}", "see providers.key")
    if clock is None:
        text = f"{name} sends no Date header, so a lost create call is never proven absent"
        return warn(check, text, "its unknown sends need an operator: takeone-admin jobs list")
    return _compare(check, name, clock, stored)


def _compare(check: str, name: str, clock: ClockOffset, stored: ClockOffset) -> Finding:
    apart = (clock.low + clock.high) / 2 - (stored.low + stored.high) / 2
    if clock.is_within(CLOCK_TOLERANCE_SECONDS, stored):
        return ok(check, f"{name} and the database agree within {CLOCK_TOLERANCE_SECONDS:g} s")
    if clock.is_beyond(CLOCK_TOLERANCE_SECONDS, stored):
        text = f"the clocks of {name} and the database differ by {apart:+.0f} s"
        return fail(check, text, "run NTP on the database's server and on this machine")
    text = f"a slow answer leaves open whether {name} and the database agree"
    return warn(check, text, "run the doctor again")
