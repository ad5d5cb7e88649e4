"""The configuration of Prometheus: which addresses it reads."""

import json
from collections.abc import Mapping
from typing import Final

from deploy.observability.rules import NOTE
from deploy.observability.table import Job

COMPOSE_TARGETS: Final[Mapping[Job, str]] = {
    Job.API: "api:9101",
    Job.WORKER: "worker:9102",
    Job.SDK: "worker:9103",
    Job.TEMPORAL: "temporal:9090",
}
"""Names and ports of deploy/compose.yaml. A name stands for every container of the service."""


def render() -> str:
    """Return the configuration for the services of deploy/compose.yaml."""
    jobs = "".join(
        f"  - job_name: {job}\n"
        "    dns_sd_configs:\n"
        f"      - names: [{target.partition(':')[0]}]\n"
        "        type: A\n"
        f"        port: {target.partition(':')[2]}\n"
        for job, target in COMPOSE_TARGETS.items()
    )
    return (
        f"{NOTE}global:\n  scrape_interval: 15s\n  evaluation_interval: 30s\n"
        f"rule_files: [takeone.rules.yaml]\nscrape_configs:\n{jobs}"
    )


def local_configuration(targets: Mapping[Job, str], *, rules_file: str, every_seconds: int) -> str:
    """Return the configuration for processes of this machine. targets: host:port of each job.

    It is JSON, which is YAML too.
    """
    return json.dumps(
        {
            "global": {
                "scrape_interval": f"{every_seconds}s",
                "scrape_timeout": f"{every_seconds}s",
                "evaluation_interval": f"{every_seconds}s",
            },
            "rule_files": [rules_file],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [target]}]}
                for job, target in targets.items()
            ],
        },
        indent=2,
    )
