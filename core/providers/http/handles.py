"""URLs of a provider's jobs, on the provider's own host only: each call carries the key."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from core.domain.ids import ProviderJobId
from core.domain.messages.jobs import ProviderHandle
from core.providers.http.responses import as_job_id, as_text


@dataclass(frozen=True, slots=True, kw_only=True)
class HandleFactory:
    """Makes the handles of one provider.

    base_url: root of the provider's job URLs. url_names: response members whose URLs are kept.
    """

    provider: str
    base_url: str
    url_names: tuple[str, ...]

    def make(
        self, model_id: str, job_id: object, urls: Mapping[str, object] | None = None
    ) -> ProviderHandle | None:
        """Return the handle of a response's job, or None if its id is not usable.

        URLs on other hosts are dropped.
        """
        checked = as_job_id(job_id)
        if checked is None:
            return None
        named = {name: as_text((urls or {}).get(name)) for name in self.url_names}
        return ProviderHandle(
            provider=self.provider,
            model=model_id,
            provider_job_id=ProviderJobId(checked),
            urls={name: url for name, url in named.items() if same_origin(url, self.base_url)},
        )

    def make_all(self, model_id: str, job_ids: tuple[str, ...]) -> tuple[ProviderHandle, ...]:
        return tuple(
            handle for job_id in job_ids if (handle := self.make(model_id, job_id)) is not None
        )

    def url(self, handle: ProviderHandle, name: str, path: str) -> str:
        """Return the URL that the provider returned as `name`, else base_url plus path."""
        stored = handle.urls.get(name, "")
        return stored if same_origin(stored, self.base_url) else f"{self.base_url}{path}"


def same_origin(url: str, base_url: str) -> bool:
    """Return whether both URLs have the same scheme, host and port, and no user part."""
    try:
        return _origin(url) == _origin(base_url)
    except ValueError:
        return False


def _origin(url: str) -> tuple[str, str | None, int | None, bool]:
    """Split a URL into the parts of its origin. Raises ValueError for a malformed one."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, parts.hostname, port, parts.username is not None
