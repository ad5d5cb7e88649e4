"""Alerts on parts that are down."""

from typing import Final

from deploy.observability.table import Alert, Job, Severity

CREATES: Final = "takeone_provider_calls_total"
REFUSED: Final = (
    f'sum by (provider) (increase({CREATES}{{operation="create", outcome!="accepted"}}[10m]))'
)
CREATED: Final = f'sum by (provider) (increase({CREATES}{{operation="create"}}[10m]))'
UNREACHABLE: Final = 'sum(increase(takeone_waits_completed_total{outcome="unreachable"}[5m]))'
OURS: Final = f'up{{job=~"{Job.API}|{Job.WORKER}|{Job.SDK}"}}'
POOL_WAIT: Final = "histogram_quantile(0.95, sum by (le, job) (rate(takeone_database_pool_wait_seconds_bucket[5m])))"

ALERTS: Final = (
    Alert(
        name="BreakerOpen",
        severity=Severity.PAGE,
        measures=("max by (provider) (takeone_provider_breaker_open)",),
        above="0",
        lasts="2m",
        summary="{{ $labels.provider }} refuses this service's key or credit",
        reason="Only a person can pay or replace a key. Orders for the provider get 503.",
        look="`providers show`: the reason, since when, and the next probe.",
        act="Pay, or set a new key and restart API and workers. Then reset the breaker, or wait "
        "for its next probe.",
        commands=("providers show", "providers reset PROVIDER --note TEXT"),
    ),
    Alert(
        name="ProviderRefuses",
        severity=Severity.TICKET,
        measures=(REFUSED, CREATED),
        expr=f"{REFUSED} / {CREATED} > 0.2 and {CREATED} >= 20",
        lasts="5m",
        summary="{{ $labels.provider }} did not accept {{ $value | humanizePercentage }} of the "
        "create requests of ten minutes",
        reason="Refusals of single inputs are normal; a fifth of at least 20 requests is not.",
        look="*Create calls* by outcome, and *Failures by code*.",
        act="Look at the provider's status page. Pause it, so that executions wait or use an "
        "alternative.",
        commands=("providers show", "submits pause --provider NAME --reason TEXT"),
    ),
    Alert(
        name="ApiDown",
        severity=Severity.PAGE,
        measures=(f'up{{job="{Job.API}"}}',),
        expr=f'absent(up{{job="{Job.API}"}} == 1)',
        lasts="2m",
        summary="No API process answers",
        reason="Orders and reads fail. Accepted executions continue.",
        look="The last line of the log of the API.",
        act="Start it. Code 2 is a wrong setting.",
        commands=("doctor",),
    ),
    Alert(
        name="ProcessDown",
        severity=Severity.TICKET,
        measures=(OURS,),
        expr=f"{OURS} == 0",
        lasts="5m",
        summary="{{ $labels.job }} at {{ $labels.instance }} does not answer",
        reason="Others do its work. It restarts in seconds if a supervisor does its part.",
        look="The log of the process.",
        act="Start it, or remove it from the configuration of Prometheus.",
        commands=("doctor",),
    ),
    Alert(
        name="TemporalUnreachable",
        severity=Severity.TICKET,
        measures=(UNREACHABLE,),
        above="0",
        lasts="5m",
        summary="Workers have not reached Temporal for minutes",
        reason="Nothing is lost, and every execution stands still.",
        look="The Temporal server, its database, and the network between.",
        act="Restore it. Executions continue by themselves.",
        commands=("doctor",),
    ),
    Alert(
        name="DatabasePoolWaits",
        severity=Severity.TICKET,
        measures=(POOL_WAIT,),
        above="1",
        lasts="10m",
        summary="{{ $labels.job }}: one transaction in twenty waits {{ $value | humanizeDuration }} "
        "for a connection",
        reason="Milliseconds while healthy. After 8 s a request is answered with 503.",
        look="PostgreSQL: long transactions and locks in `pg_stat_activity`, its processor time.",
        act="End what blocks. If PostgreSQL is idle, add processes: each has its own connections.",
        commands=("doctor",),
    ),
)
