"""Clients of S3 and HTTP that read descriptions and certificate authorities once per process.

Reading them for each test takes longer than most tests.
"""

import functools
from collections.abc import Generator

import httpx
import pytest

from core.store.files import object_storage


@pytest.fixture(scope="package", autouse=True)
def quick_clients() -> Generator[None]:
    """Share S3 sessions and TLS contexts between the tests of a folder."""
    with pytest.MonkeyPatch.context() as patch:
        for place in (
            "httpx.create_ssl_context",
            "httpx._transports.default.create_ssl_context",
        ):
            patch.setattr(place, functools.cache(httpx.create_ssl_context))
        patch.setattr(object_storage, "s3_session", functools.cache(object_storage.s3_session))
        # Each S3 client would read the public authorities, though the test servers have no TLS.
        patch.setattr("aiobotocore.httpsession.get_cert_path", _own_authorities)
        yield


def _own_authorities(verify: bool | str) -> str | None:
    """Return the file of authorities that the client names, or None."""
    return verify if isinstance(verify, str) else None
