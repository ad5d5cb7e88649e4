"""Request and response bodies of assets."""

from typing import Annotated, Any, Final

from pydantic import AfterValidator, ConfigDict, Field

from api.http.schemas import QueryParameters, RequestBody, ResponseBody, Time
from core.domain.media.content import MediaKind
from core.platform.urls import MAX_URL_CHARS, webhook_url
from core.store.files.user_assets import AssetOrigin, StoredAsset

FileUrl = Annotated[str, Field(max_length=MAX_URL_CHARS), AfterValidator(webhook_url)]


class AssetFromUrl(RequestBody):
    """A file to import."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"url": "https://example.com/first-frame.jpg"}]}
    )

    url: FileUrl = Field(
        description="http or https, a public address, port 80, 443, 8080 or 8443. The file must "
        "arrive within 15 seconds."
    )


class Asset(ResponseBody):
    """A file of this account."""

    id: str
    source: AssetOrigin = Field(description="How the file came into this account.")
    kind: MediaKind
    content_type: str
    size: int = Field(description="Bytes.")
    sha256: str = Field(description="Of the stored content, hexadecimal.")
    width: int | None = Field(description="Pixels; null: sound, or not readable.")
    height: int | None
    duration: float | None = Field(description="Seconds; null: a picture, or not readable.")
    execution_id: str | None = Field(description="Of an output: the execution that produced it.")
    created_at: Time


class AssetList(ResponseBody):
    data: list[Asset]
    next_cursor: str | None = Field(description="The cursor of the next page; null on the last.")


class ListAssetsQuery(QueryParameters):
    source: AssetOrigin | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Annotated[str, Field(max_length=200)] | None = None


def asset_response(stored: StoredAsset) -> Asset:
    media = stored.media
    return Asset(
        id=stored.asset_id,
        source=stored.origin,
        kind=stored.kind,
        content_type=stored.content_type,
        size=stored.size_bytes,
        sha256=stored.sha256,
        width=media.width if media else None,
        height=media.height if media else None,
        duration=media.duration_seconds if media else None,
        execution_id=stored.execution_id,
        created_at=stored.created_at,
    )


UPLOAD_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "additionalProperties": False,
                "properties": {
                    "file": {
                        "type": "string",
                        "format": "binary",
                        "description": "The file; its type is detected from its content.",
                    }
                },
            }
        },
        "application/json": {"schema": AssetFromUrl.model_json_schema()},
    },
}
"""FastAPI cannot describe a body of two types, one of which is read as a stream."""
