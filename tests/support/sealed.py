"""Temporal clients that read and write encrypted payloads, as the product's processes do."""

from dataclasses import dataclass

from temporalio.client import Client

from core.platform.temporal.payload_encryption import payload_converter


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadKeys:
    """The encryption settings.

    keys: newest first.
    """

    keys: tuple[bytes, ...]
    temporal_encrypt_payloads: bool = True

    def encryption_key_bytes(self) -> list[bytes]:
        return list(self.keys)


def like(client: Client, keys: PayloadKeys) -> Client:
    """Return another client on the same connection."""
    config = client.config()
    config["data_converter"] = payload_converter(keys)
    return Client(**config)
