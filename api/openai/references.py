"""The start picture of a video: a file of a form, a URL, or a data URL."""

import base64
import binascii
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from pydantic import TypeAdapter, ValidationError

from api.assets.schemas import FileUrl
from api.http.middleware.body_limits import DATA_URL_BYTES
from api.http.problems.documents import ProblemError, invalid_fields
from api.openai.bodies import INPUT_REFERENCE, InputReference
from core.domain.ids import UserId
from core.domain.media.content import MediaKind
from core.domain.plans import AssetSource
from core.ordering.assets.imports import AssetImporter
from core.ordering.assets.sources import RequestedSource, UrlSource
from core.ordering.errors import FaultCode, MediaRefusedError

IMAGE_URL: Final = f"{INPUT_REFERENCE}.image_url"
_CHUNK: Final = 64 * 1024
_URL: Final = TypeAdapter[str](FileUrl)


async def import_picture(
    importer: AssetImporter, user_id: UserId, chunks: AsyncIterator[bytes]
) -> AssetSource:
    """Store a picture that was sent with an order, judged by its bytes. Repeating is safe.

    Raises what `import_stream` raises, with the field of the picture.
    """
    try:
        imported = await importer.import_stream(user_id, chunks, expected=MediaKind.IMAGE)
    except MediaRefusedError as error:
        raise type(error)(error.detail, field=INPUT_REFERENCE) from error
    return AssetSource(asset=imported.asset.asset_id)


async def reference_source(
    importer: AssetImporter, user_id: UserId, reference: InputReference
) -> RequestedSource:
    """Return the picture of a URL, which is imported with the order, or of a data URL."""
    text = reference.image_url
    if text[:5].lower() == "data:":
        return await import_picture(importer, user_id, _pieces(_decoded(text)))
    try:
        return UrlSource(url=_URL.validate_python(text), kind=MediaKind.IMAGE)
    except ValidationError as error:
        raise _invalid(str(error.errors()[0]["msg"]).removeprefix("Value error, ")) from None


def _decoded(text: str) -> bytes:
    if len(text) > DATA_URL_BYTES:
        raise _invalid(f"must not exceed {DATA_URL_BYTES} characters: send the picture as a file")
    head, comma, content = text.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise _invalid("must be a data URL with base64: data:image/png;base64,…")
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("is a data URL whose base64 is not valid") from None


async def _pieces(content: bytes) -> AsyncGenerator[bytes]:
    for start in range(0, len(content), _CHUNK):
        yield content[start : start + _CHUNK]


def _invalid(detail: str) -> ProblemError:
    return invalid_fields([{"field": IMAGE_URL, "detail": detail, "code": FaultCode.INVALID}])
