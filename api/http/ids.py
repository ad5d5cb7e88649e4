"""Patterns of ids in paths and queries, and cursors of lists.

A text that does not match its pattern is answered without a query.
"""

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta

from api.http.problems.documents import invalid_field
from core.domain.ids import AssetId, EndpointId, EventId, ExecutionId, TemplateId
from core.store.webhooks.delivery_log import Place

EXECUTION_ID = re.compile(r"exec_[0-9a-f]{32}", re.ASCII)
KEY_ID = re.compile(r"key_[0-9a-f]{32}", re.ASCII)
ENDPOINT_ID = re.compile(r"end_[0-9a-f]{32}", re.ASCII)
EVENT_ID = re.compile(r"evt_[0-9a-f]{32}", re.ASCII)
ASSET_ID = re.compile(r"asset_[0-9a-f]{32}", re.ASCII)
TEMPLATE_ID = re.compile(r"tpl_[0-9a-f]{32}", re.ASCII)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLACE = re.compile(r"(?P<micros>[0-9]{1,17})/(?P<event_id>evt_[0-9a-f]{32})", re.ASCII)


def encode_cursor(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> ExecutionId:
    """Raise ProblemError for a cursor that this service did not create."""
    return ExecutionId(_decode(cursor, EXECUTION_ID)[0])


def decode_endpoint_cursor(cursor: str) -> EndpointId:
    """Raise ProblemError for a cursor that this service did not create."""
    return EndpointId(_decode(cursor, ENDPOINT_ID)[0])


def decode_asset_cursor(cursor: str) -> AssetId:
    """Raise ProblemError for a cursor that this service did not create."""
    return AssetId(_decode(cursor, ASSET_ID)[0])


def decode_template_cursor(cursor: str) -> TemplateId:
    """Raise ProblemError for a cursor that this service did not create."""
    return TemplateId(_decode(cursor, TEMPLATE_ID)[0])


def encode_place(place: Place) -> str:
    return encode_cursor(
        f"{(place.created_at - _EPOCH) // timedelta(microseconds=1)}/{place.event_id}"
    )


def decode_place(cursor: str) -> Place:
    """Raise ProblemError for a cursor that this service did not create."""
    place = _decode(cursor, _PLACE)
    return Place(
        created_at=_EPOCH + timedelta(microseconds=int(place["micros"])),
        event_id=EventId(place["event_id"]),
    )


def _decode(cursor: str, form: re.Pattern[str]) -> re.Match[str]:
    try:
        text = base64.b64decode(
            cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True
        ).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    match = form.fullmatch(text)
    if match is None:
        raise invalid_field("cursor", "is not a nextCursor of this service")
    return match
