"""Media parameters of requests: an asset of the account, or a file at a URL."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, model_validator

from api.assets.schemas import FileUrl
from api.http.ids import ASSET_ID
from api.http.schemas import RequestBody
from core.domain.ids import AssetId
from core.domain.plans import AssetSource
from core.ordering.assets.sources import RequestedSource, UrlSource

_ONE_OF: Final = "must have either asset or url"


def _describe(schema: dict[str, Any]) -> None:
    """Describe what JSON Schema can express of the rule: exactly one field, and no null."""
    schema["minProperties"] = schema["maxProperties"] = 1
    for field in schema["properties"].values():
        allowed = [each for each in field.pop("anyOf") if each != {"type": "null"}]
        field.pop("default", None)
        field.update(allowed[0])


class MediaInput(RequestBody):
    """A file of the user: `{"asset": "asset_…"}` or `{"url": "https://…"}`."""

    model_config = ConfigDict(json_schema_extra=_describe)

    asset: Annotated[str, Field(pattern=f"^{ASSET_ID.pattern}$")] | None = Field(
        None, description="An upload, or an output of an execution."
    )
    url: FileUrl | None = Field(
        None,
        description="Imported as an asset before the request is accepted; see `POST /api/assets`.",
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> "MediaInput":
        if len(self.model_fields_set) != 1 or (self.asset is None) == (self.url is None):
            raise ValueError(_ONE_OF)
        return self

    def source(self) -> RequestedSource:
        if self.url is not None:
            return UrlSource(url=self.url)
        return AssetSource(asset=AssetId(self.asset or ""))


def requested_files(named: Mapping[str, MediaInput | None]) -> dict[str, RequestedSource]:
    """Return the files that a request names. named: by the field in snake case."""
    return {name: file.source() for name, file in named.items() if file is not None}
