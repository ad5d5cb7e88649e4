"""How we address a provider's jobs. A key goes with every such call, so only ever to the provider's
own host.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from core.domain.ids import ProviderJobId
from core.domain.messages.jobs import ProviderHandle
from core.providers.answers import as_job_id, as_text
from core.providers.http import same_origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Handles:
    """The handles of one provider. base_url: where its jobs are. url_names: the addresses kept of
    an answer.
    """

    provider: str
    base_url: str
    url_names: tuple[str, ...]

    def make(
        self, model_id: str, job_id: object, urls: Mapping[str, object] | None = None
    ) -> ProviderHandle | None:
        """From what an answer holds; None if the id is not usable. Addresses on other hosts are
        left out.
        """
        checked = as_job_id(job_id)
        if checked is None:
            return None
        given = {name: as_text((urls or {}).get(name)) for name in self.url_names}
        ours = {name: url for name, url in given.items() if same_origin(url, self.base_url)}
        return ProviderHandle(
            provider=self.provider,
            model=model_id,
            provider_job_id=ProviderJobId(checked),
            urls=ours,
        )

    def found(self, model_id: str, job_ids: tuple[str, ...]) -> tuple[ProviderHandle, ...]:
        return tuple(
            handle for job_id in job_ids if (handle := self.make(model_id, job_id)) is not None
        )

    def address(self, handle: ProviderHandle, name: str, path: str) -> str:
        """The address the provider gave by this name, else the one built from the id: base_url and
        path.
        """
        given = handle.urls.get(name, "")
        return given if same_origin(given, self.base_url) else f"{self.base_url}{path}"
