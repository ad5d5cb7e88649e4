# Made from _async/account.py by make_sync.py. Change that file, and run make_sync.py.
"""Models, usage, API keys, provider keys and the health of the service."""

from collections.abc import Mapping, Sequence
from typing import Any

from typing_extensions import Unpack

from takeone._calls import account
from takeone._calls.bodies import NewKeyOptions, NewSpendLimit
from takeone._sync.sender import Sender
from takeone.models.account import (
    DeletedProviderKey,
    Key,
    MonthUsage,
    NewKey,
    ProviderKey,
    TestedProviderKey,
)
from takeone.models.catalogue import Health, ImportedPlan, OfferedModel, Readiness


class Models:
    """The models that the account can use."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def list(self) -> Sequence[OfferedModel]:
        """Return the models with limits and prices; of each kind the default first."""
        answer = self._sender.send(account.list_models())
        return answer.data


class Plans:
    """The form of plans, and plans of another service."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def schema(self) -> Mapping[str, Any]:
        """Return the JSON Schema of plans, with every media step."""
        answer = self._sender.send(account.plan_schema())
        return answer.model_extra or {}

    def import_synthome(
        self, plan: Mapping[str, Any], models: Mapping[str, str] | None = None
    ) -> ImportedPlan:
        """Return a plan of the Synthome SDK in the form of this service, and what was changed.

        models: models of this service by the `modelId` that they replace. Raises
        InvalidRequestError with every reason against the import.
        """
        return self._sender.send(account.import_plan(plan, models))


class Usage:
    """Money and videos used in a month."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def get(self, month: str | None = None) -> MonthUsage:
        """Return the usage of a month, for example `2026-11`; by default of the present one."""
        return self._sender.send(account.usage(month))


class Keys:
    """The API keys of the account."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def list(self) -> Sequence[Key]:
        """Return the keys, without their secrets."""
        answer = self._sender.send(account.list_keys())
        return answer.data

    def create(self, **fields: Unpack[NewKeyOptions]) -> NewKey:
        """Create a key. Its secret is in this answer alone."""
        return self._sender.send(account.create_key(fields))

    def current(self) -> Key:
        """Return the key of this client, with its spend limit and what it has spent."""
        return self._sender.send(account.current_key())

    def set_spend_limit(self, key_id: str, limit: NewSpendLimit | None) -> Key:
        """Set what orders with a key may cost, from the next one on. None: no limit.

        What the limit leaves out has no limit.
        """
        return self._sender.send(account.set_spend_limit(key_id, limit))

    def revoke(self, key_id: str) -> None:
        """Revoke a key. Repeating is safe."""
        self._sender.send(account.revoke_key(key_id))


class ProviderKeys:
    """The account's own keys at providers."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def list(self) -> Sequence[ProviderKey]:
        """Return the keys in use, masked."""
        answer = self._sender.send(account.list_provider_keys())
        return answer.data

    def set(self, provider: str, key: str) -> ProviderKey:
        """Use this key for new purchases at a provider."""
        return self._sender.send(account.set_provider_key(provider, key))

    def delete(self, provider: str) -> DeletedProviderKey:
        """Exclude the key from new purchases, and erase it."""
        return self._sender.send(account.delete_provider_key(provider))

    def test(self, provider: str) -> TestedProviderKey:
        """Send a free read request to the provider with the key."""
        return self._sender.send(account.test_provider_key(provider))


class Service:
    """The health of the service."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def live(self) -> Health:
        """Return whether the process serves requests."""
        return self._sender.send(account.live())

    def ready(self) -> Readiness:
        """Return whether the service can accept orders."""
        return self._sender.send(account.ready())
