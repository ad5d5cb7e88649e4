"""Pages of an OpenID Connect issuer on which a user logs in: the authorization code flow."""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from tests.api.issuing import AUTHORIZATION, TOKEN, IssuerServer, SigningKey, claims_of, signed

APPROVAL: Final = "/approve"
ICON: Final = "/favicon.ico"
HTML: Final = "content-type: text/html; charset=utf-8\r\n"
JSON: Final = "content-type: application/json\r\n"


@dataclass(slots=True, kw_only=True)
class LoginPages:
    """Logs in one subject at a click.

    client_secret: None: a public client. claims: of the ID token, in place of the usual ones.
    """

    issuer: IssuerServer
    key: SigningKey
    subject: str
    client_id: str
    client_secret: str | None = None
    claims: dict[str, Any] = field(default_factory=dict[str, Any])
    codes: dict[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])

    def install(self) -> None:
        self.issuer.pages |= {
            AUTHORIZATION: self.authorize,
            APPROVAL: self.approve,
            TOKEN: self.token,
            ICON: lambda _query, _head, _body: (204, "", b""),
        }

    def authorize(self, query: Mapping[str, str], _head: str, _body: bytes) -> Any:
        fields = "".join(
            f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
            for name, value in query.items()
        )
        button = f"<button>Continue as {escape(self.subject)}</button>"
        page = (
            f'<!doctype html><title>Log in</title><form action="{APPROVAL}">{fields}{button}</form>'
        )
        return 200, HTML, page.encode()

    def approve(self, query: Mapping[str, str], _head: str, _body: bytes) -> Any:
        return 302, f"location: {self.agree(query)}\r\n", b""

    def agree(self, query: Mapping[str, str]) -> str:
        """Return where the browser goes when the user agrees."""
        code = secrets.token_urlsafe(8)
        self.codes[code] = query
        answer = {"code": code, "state": query["state"], "iss": self.issuer.url}
        return f"{query['redirect_uri']}?{urlencode(answer)}"

    def token(self, _query: Mapping[str, str], head: str, body: bytes) -> Any:
        form = dict(parse_qsl(body.decode()))
        asked = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            asked is None
            or form.get("grant_type") != "authorization_code"
            or form.get("redirect_uri") != asked["redirect_uri"]
            or challenge != asked["code_challenge"]
            or not self._is_client(head, form)
        ):
            return 400, JSON, b'{"error": "invalid_grant"}'
        claims = {"aud": self.client_id, "nonce": asked["nonce"], **self.claims}
        token = signed(self.key, claims_of(self.issuer.url, self.subject, **claims))
        return 200, JSON, json.dumps({"id_token": token, "token_type": "Bearer"}).encode()

    def _is_client(self, head: str, form: Mapping[str, str]) -> bool:
        if self.client_secret is None:
            return form.get("client_id") == self.client_id
        pair = f"{quote(self.client_id, safe='')}:{quote(self.client_secret, safe='')}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}" in head
