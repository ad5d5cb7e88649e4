"""What the listener of an endpoint gets: each attempt that waits for it, signed at this moment."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from core.domain.ids import EndpointId, EventId, UserId
from core.platform.crypto.sealing import Sealer
from core.store.database import Connection, Database
from core.store.webhooks.listening import (
    Offer,
    find_endpoint_secrets,
    list_latest,
    list_offers,
    note_listener,
)
from core.store.webhooks.signing_secrets import find_signing_secrets
from core.webhooks.signing import SigningError, sign_webhook


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferFrame:
    """An event of a stream. key: names the attempt."""

    key: tuple[EventId, int, int]
    frame: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """Reads and signs what is offered to listeners."""

    database: Database
    sealer: Sealer

    async def read(self, user_id: UserId, endpoint_id: EndpointId) -> Sequence[OfferFrame] | None:
        """Return the attempts that wait. None: the endpoint does not exist any more."""
        async with self.database.as_user(user_id) as conn:
            if not await note_listener(conn, user_id, endpoint_id):
                return None
            offers = await list_offers(conn, user_id, endpoint_id)
            frames = [await self._signed(conn, offer) for offer in offers]
        return [frame for frame in frames if frame is not None]

    async def read_latest(
        self, user_id: UserId, endpoint_id: EndpointId, number: int
    ) -> Sequence[OfferFrame]:
        """Return the user's latest events, signed with the secret of this endpoint."""
        async with self.database.as_user(user_id) as conn:
            secrets = await find_endpoint_secrets(conn, endpoint_id)
            offers = await list_latest(conn, user_id, number)
        return [
            _frame(offer, sign_webhook(self.sealer, offer.event_id, offer.body, secrets))
            for offer in offers
        ]

    async def _signed(self, conn: Connection, offer: Offer) -> OfferFrame | None:
        """Return the frame of an offer. None: it cannot be signed, which fails the attempt."""
        secrets = await find_signing_secrets(conn, offer.event_id)
        try:
            headers = sign_webhook(self.sealer, offer.event_id, offer.body, secrets)
        except SigningError:
            return None
        return _frame(offer, headers)


def _frame(offer: Offer, headers: dict[str, str]) -> OfferFrame:
    data = {
        "id": offer.event_id,
        "type": offer.type,
        "delivery": offer.delivery,
        "number": offer.number,
        "body": offer.body.decode(),
        "headers": {"content-type": "application/json", **headers},
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    # An event that is only shown again must not move the place from which a stream resumes.
    number = f"id: {offer.event_id}\n" if offer.number else ""
    return OfferFrame(
        key=(offer.event_id, offer.delivery, offer.number),
        frame=f"{number}event: webhook\ndata: {text}\n\n".encode(),
    )
