"""What all tests share: the servers that start when a test asks for them, and an environment that leads nowhere.

Provider keys and addresses are taken out before anything is imported, and `.env` is not read: no test can spend money.
"""

import os

from deploy.local.product import FOREIGN
from runtime import settings
from tests.servers import (
    fresh_database,
    postgres_server,
    s3_server,
    servers_folder,
    template_database,
    temporal_server,
)


def _forget_outside() -> None:
    for name in [name for name in os.environ if name.upper().startswith(FOREIGN)]:
        del os.environ[name]
    for kind in vars(settings).values():
        if isinstance(kind, type) and issubclass(kind, settings.Settings):
            kind.model_config["env_file"] = None


_forget_outside()

__all__ = [
    "fresh_database",
    "postgres_server",
    "s3_server",
    "servers_folder",
    "template_database",
    "temporal_server",
]
