"""Sessions of the S3 client that read neither the AWS variables, nor files, nor proxies."""

import os
from functools import partial
from typing import Final

import aioboto3
from aiobotocore.config import AioConfig
from aiobotocore.credentials import (
    AioAssumeRoleWithWebIdentityProvider,
    AioContainerProvider,
    AioCredentialResolver,
    AioInstanceMetadataProvider,
)
from aiobotocore.session import AioSession
from aiobotocore.utils import AioInstanceMetadataFetcher
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConstantProvider
from botocore.credentials import CredentialProvider
from botocore.loaders import Loader

_OWN_VALUES: Final = {"config_file": os.devnull, "credentials_file": os.devnull}
_SECTIONS: Final = ("s3", "proxies_config")  # of the configuration file
_METADATA_SECONDS: Final = 2
_METADATA_ATTEMPTS: Final = 3


def s3_session(*, ca_bundle: str | None = None, role_region: str | None = None) -> aioboto3.Session:
    """Return a session with the library's defaults.

    ca_bundle: file of the certificate authorities; default: the public ones. role_region: where to
    get credentials of the machine's role; None: the caller has keys.
    """
    session = AioSession()
    values = {name: default for name, (_, _, default, _) in _variables().items()}
    values |= dict.fromkeys(_SECTIONS) | _OWN_VALUES | {"ca_bundle": ca_bundle or True}
    store = session.get_component("config_store")
    for name, value in values.items():
        store.set_config_provider(name, ConstantProvider(value))
    # The default loader also reads ~/.aws/models.
    loader = Loader([Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    session.register_component("data_loader", loader)
    session.set_default_client_config(AioConfig(proxies={}, ignore_configured_endpoint_urls=True))
    if role_region is not None:
        session.register_component("credential_provider", _role(session, role_region))
    return aioboto3.Session(botocore_session=session)


def _variables() -> dict[str, tuple[object, object, object, object]]:
    return BOTOCORE_DEFAUT_SESSION_VARIABLES


def _role(session: AioSession, region: str) -> AioCredentialResolver:
    """Return the sources of a role: EKS, ECS and EC2, by the variables that these set."""
    web_identity = AioAssumeRoleWithWebIdentityProvider(
        load_config=dict,
        client_creator=partial(session.create_client, region_name=region),  # pyright: ignore[reportArgumentType, reportCallIssue, reportUnknownMemberType, reportUnknownArgumentType] - the stubs describe synchronous clients
        profile_name="default",
    )
    fetcher = AioInstanceMetadataFetcher(
        timeout=_METADATA_SECONDS, num_attempts=_METADATA_ATTEMPTS, user_agent=session.user_agent()
    )
    machine = AioInstanceMetadataProvider(iam_role_fetcher=fetcher)
    sources: list[CredentialProvider] = [web_identity, AioContainerProvider(), machine]
    return AioCredentialResolver(sources)


def client_config(*, own_endpoint: bool) -> AioConfig:
    """Return the settings of a client. own_endpoint: the server is not AWS itself."""
    return AioConfig(
        signature_version="s3v4",
        connect_timeout=5,
        read_timeout=60,
        retries={"total_max_attempts": 4, "mode": "standard"},
        # Servers other than AWS rarely have a DNS name per bucket.
        s3={"addressing_style": "path" if own_endpoint else "virtual"},
        # The newer default adds CRC trailers, which some servers reject.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
