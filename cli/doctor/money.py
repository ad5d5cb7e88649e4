"""Checks of money: limits, pauses, tripped breakers, and jobs that wait for an operator."""

from cli.doctor.database import open_database
from cli.doctor.finding import Finding, ok, warn
from core.domain.money import usd_text
from core.platform.settings.processes import WorkerProcess
from core.store.accounts.users import list_users
from core.store.database import Connection
from core.store.jobs.cases import list_cases
from core.store.jobs.submit_pauses import list_pauses
from core.store.money.daily_spending_cap import get_service_today
from core.store.providers.capacity import list_states

CASES = 1000
"""More cases are counted as this many."""


async def check_money(settings: WorkerProcess) -> list[Finding]:
    """Check what limits the spending, and what stops it at the moment. Raises database errors."""
    async with open_database(settings) as database, database.as_system() as conn:
        return [
            await _check_cap(conn),
            await _check_budgets(conn),
            await _check_pauses(conn),
            await _check_breakers(conn),
            await _check_cases(conn),
        ]


async def _check_cap(conn: Connection) -> Finding:
    check, today = "money.daily_limit", await get_service_today(conn)
    cap, used = today.daily_nano_usd, today.held_nano_usd + today.settled_nano_usd
    if cap is None:
        text = "the service may spend any amount in a day"
        return warn(check, text, "run takeone-admin service set-daily-limit USD")
    text = f"{usd_text(used)} of {usd_text(cap)} USD are held or spent today (UTC)"
    if used * 5 >= cap * 4:
        action = "run takeone-admin service set-daily-limit USD if today's requests are expected"
        return warn(check, text, action)
    return ok(check, text)


async def _check_budgets(conn: Connection) -> Finding:
    check, users = "money.budgets", await list_users(conn)
    active = [user for user in users if user.disabled_at is None]
    unlimited = [user.user_id for user in active if user.limits.monthly_nano_usd is None]
    if not active:
        return warn(check, "there is no user yet", "run takeone-admin users create NAME")
    if unlimited:
        more = f" and {len(unlimited) - 1} more" if len(unlimited) > 1 else ""
        text = f"no monthly limit: {unlimited[0]}{more}"
        return warn(check, text, "run takeone-admin users set-limits USER --monthly-usd USD")
    return ok(check, f"all {len(active)} users have a monthly limit")


async def _check_pauses(conn: Connection) -> Finding:
    check, pauses = "money.pauses", await list_pauses(conn)
    if not pauses:
        return ok(check, "no paid calls are paused")
    text = ", ".join(f"{pause.scope} ({pause.reason})" for pause in pauses)
    return warn(check, f"paused: {text}", "run takeone-admin submits resume")


async def _check_breakers(conn: Connection) -> Finding:
    check, states = "money.breakers", await list_states(conn)
    tripped = [state for state in states if state.tripped_at is not None]
    if not tripped:
        return ok(check, "no provider refuses the service")
    text = ", ".join(f"{state.provider} ({state.tripped_code})" for state in tripped)
    action = "pay or replace the key, then run takeone-admin providers reset PROVIDER"
    return warn(check, f"refused by: {text}", action)


async def _check_cases(conn: Connection) -> Finding:
    check = "money.open_jobs"
    cases = await list_cases(conn, None, provider=None, older_than_seconds=3600, limit=CASES)
    if not cases:
        return ok(check, "no outcome and no bill has been open for an hour")
    text = f"{len(cases)} jobs have had an open outcome or bill for an hour"
    return warn(check, text, "run takeone-admin jobs list --older-than 60")
