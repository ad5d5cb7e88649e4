"""What is on offer to a user: with keys of their own, also what the service has no key for."""

from api.services import Services
from core.domain.ids import UserId
from core.providers.registry import Providers
from core.store.database import Connection
from core.store.providers.user_keys import list_current


async def offered_to(services: Services, user_id: UserId) -> Providers:
    """To plan, to price and to list. Which key something is then bought with is seen when it is
    bought.
    """
    if services.providers.all_on_offer:
        return services.providers
    async with services.database.reading_as(user_id) as conn:
        return await offered_within(conn, services.providers, user_id)


async def offered_within(conn: Connection, providers: Providers, user_id: UserId) -> Providers:
    """The same, in a transaction of the user's."""
    if providers.all_on_offer:
        return providers
    return providers.for_user(await list_current(conn, user_id))
