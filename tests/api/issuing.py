"""An OpenID Connect issuer on real sockets: its keys, its documents, and the tokens it signs."""

import asyncio
import base64
import contextlib
import json
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm, get_default_algorithms

AUDIENCE: Final = "takeone"
DISCOVERY: Final = "/.well-known/openid-configuration"
KEYS: Final = "/keys"
AUTHORIZATION: Final = "/authorize"
TOKEN: Final = "/token"
LENGTH: Final = re.compile(r"(?i)^content-length: *(\d+)", re.MULTILINE)
NULL: Final = "(null)"
"""A claim that is present with the value null."""

Page = Callable[[Mapping[str, str], str, bytes], tuple[int, str, bytes]]
"""From the query, the head and the body of a request to status, further header lines and body."""
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    kid: str
    algorithm: str
    private: PrivateKey

    @property
    def public_jwk(self) -> dict[str, Any]:
        public = self.private.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            made = RSAAlgorithm.to_jwk(public, as_dict=True)
        elif isinstance(public, ec.EllipticCurvePublicKey):
            made = ECAlgorithm.to_jwk(public, as_dict=True)
        else:
            made = OKPAlgorithm.to_jwk(public, as_dict=True)
        made.pop("key_ops", None)
        return {**made, "kid": self.kid, "use": "sig", "alg": self.algorithm}


@cache
def signing_key(kid: str, algorithm: str = "RS256", *, rsa_bits: int = 2048) -> SigningKey:
    """Return the same key for the same name: creating an RSA key is slow."""
    private: PrivateKey
    if algorithm == "ES256":
        private = ec.generate_private_key(ec.SECP256R1())
    elif algorithm == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
    else:
        private = rsa.generate_private_key(public_exponent=65537, key_size=rsa_bits)
    return SigningKey(kid=kid, algorithm=algorithm, private=private)


def claims_of(issuer: str, subject: str, **changed: Any) -> dict[str, Any]:
    """Return the claims of a valid token, with changes.

    A claim changed to None is left out; a time span means that long from now.
    """
    now = int(time.time())
    claims = {
        "iss": issuer,
        "aud": AUDIENCE,
        "sub": subject,
        "iat": now,
        "exp": now + 300,
        **changed,
    }
    return {
        name: now + value.total_seconds()
        if isinstance(value, timedelta)
        else None
        if value == NULL
        else value
        for name, value in claims.items()
        if value is not None
    }


def signed(key: SigningKey, claims: Mapping[str, Any], **header: Any) -> str:
    """Return a signed token with any claims and header."""
    body = f"{encoded({'alg': key.algorithm, 'typ': 'JWT', 'kid': key.kid, **header})}.{encoded(claims)}"
    return f"{body}.{encoded(get_default_algorithms()[key.algorithm].sign(body.encode(), key.private))}"


def encoded(value: object) -> str:
    """Encode a part of a token: bytes unchanged, anything else as JSON."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(slots=True)
class IssuerServer:
    """An issuer on a real socket.

    documents: by path, as bytes, with their status. pages: by path, what answers to a query and a
    body. asked: requested paths. host: its name in its addresses.
    """

    url: str = ""
    documents: dict[str, tuple[int, bytes]] = field(default_factory=dict[str, tuple[int, bytes]])
    pages: dict[str, Page] = field(default_factory=dict[str, Page])
    asked: list[str] = field(default_factory=list[str])
    host: str = "127.0.0.1"
    delay_seconds: float = 0.0
    _server: asyncio.Server | None = None
    _port: int = 0

    @classmethod
    @asynccontextmanager
    async def open(
        cls, *keys: SigningKey, host: str = "127.0.0.1", port: int = 0
    ) -> AsyncGenerator["IssuerServer"]:
        """port: 0: any free one."""
        issuer = cls(host=host, _port=port)
        await issuer.start()
        issuer.publish(*keys)
        try:
            yield issuer
        finally:
            await issuer.stop()

    async def start(self) -> None:
        """Start the server, at its earlier port if it had one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://{self.host}:{self._port}"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    def publish(self, *keys: SigningKey, more: tuple[object, ...] = ()) -> None:
        self.publish_document(KEYS, {"keys": [*(key.public_jwk for key in keys), *more]})
        document = {
            "issuer": self.url,
            "jwks_uri": self.url + KEYS,
            "authorization_endpoint": self.url + AUTHORIZATION,
            "token_endpoint": self.url + TOKEN,
        }
        self.publish_document(DISCOVERY, document)

    def publish_document(self, path: str, document: object, status: int = 200) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.documents[path] = (status, body)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split(" ")[1]
            sent = await reader.readexactly(int((LENGTH.findall(head) or ["0"])[0]))
            self.asked.append(path)
            await asyncio.sleep(self.delay_seconds)
            parts = urlsplit(path)
            if (page := self.pages.get(parts.path)) is not None:
                status, more, body = page(dict(parse_qsl(parts.query)), head, sent)
            else:
                (status, body), more = self.documents.get(path, (404, b"{}")), ""
            answer = f"HTTP/1.1 {status} Told\r\n{more}content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            writer.write(answer.encode() + body)
            await writer.drain()
        writer.close()
