"""What all tests share: the servers that start when a test asks for them."""

from tests.servers import (
    fresh_database,
    postgres_server,
    s3_server,
    servers_folder,
    template_database,
    temporal_server,
)

__all__ = [
    "fresh_database",
    "postgres_server",
    "s3_server",
    "servers_folder",
    "template_database",
    "temporal_server",
]
