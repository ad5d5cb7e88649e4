"""The version that a worker process reports to Temporal, and what it does to workflows."""

from typing import Final

from temporalio.common import (
    AutoUpgradeVersioningOverride,
    VersioningBehavior,
    VersioningOverride,
    WorkerDeploymentVersion,
)
from temporalio.worker import WorkerDeploymentConfig

from core.platform.settings.temporal import WorkerVersionSettings

FOLLOWS_THE_CURRENT_VERSION: Final[VersioningOverride] = AutoUpgradeVersioningOverride()
"""For deliveries, which take days: they never keep an old version in use. Without versioned workers
it has no effect.
"""


def worker_deployment(settings: WorkerVersionSettings) -> WorkerDeploymentConfig | None:
    """Return the deployment config of every Worker in a process; None without versions.

    A workflow stays with the version of its first task, unless its start overrides this. This is
    not declared at the workflow: a worker without a version would then fail all its tasks.
    """
    name, build_id = settings.temporal_deployment_name, settings.temporal_worker_build_id
    if name is None or build_id is None:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(deployment_name=name, build_id=build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )
