"""The check of a PostgreSQL address; errors quote nothing of it, because it has a password."""

import os
import re
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

import certifi

_ESCAPES: Final = (
    "percent-encode these characters in the user, password and database name: "
    "/ as %2F, ? as %3F, # as %23, [ as %5B, ] as %5D, @ as %40, : as %3A, % as %25"
)
_FORM: Final = re.compile(r"(?P<scheme>postgres(?:ql)?://)(?P<authority>[^/?#]*)(?P<rest>.*)")
_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\[\]:,]*)(?::(?P<port>[0-9]{1,5}))?")
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_PASSED_ON: Final = frozenset(
    {
        *("host", "port", "dbname", "user", "password", "passfile", "service", "options"),
        *("sslmode", "sslpassword", "sslnegotiation", *_FILES),
        *("ssl_min_protocol_version", "ssl_max_protocol_version"),
        *("target_session_attrs", "krbsrvname", "gsslib"),
    }
)
# Takeone sets its own name, encoding and time-outs, and the driver has no counterpart of the rest.
_WITHOUT_EFFECT: Final = frozenset(
    {
        *("application_name", "fallback_application_name", "client_encoding", "connect_timeout"),
        *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
        *("tcp_user_timeout", "sslcompression", "sslsni", "load_balance_hosts"),
        *("gssencmode", "channel_binding"),
    }
)


def checked_postgres_url(text: str) -> str:
    """Return the address with libpq's parameters in the form that the driver supports.

    Raise ValueError with what is wrong and what to do.
    """
    form = _FORM.fullmatch(text)
    if form is None:
        raise ValueError("must start with postgresql:// and be one line")
    authority, rest = form["authority"], form["rest"]
    login, at, hosts = authority.rpartition("@")
    path, _, query = rest.partition("?")
    if (
        "#" in rest
        or "@" in rest
        or re.search(r"[@\[\]]", login)
        or re.search(r"%(?![0-9A-Fa-f]{2})", text)
        or re.search(r"[\s\x00-\x1f\x7f]", text)
    ):
        raise ValueError(f"is not a PostgreSQL address; {_ESCAPES}")
    for host in hosts.split(","):
        match = _HOST.fullmatch(host)
        if match is None or (match["port"] and not 0 < int(match["port"]) < 65536):
            raise ValueError(f"has no valid host and port; {_ESCAPES}")
    parameters = _driver_parameters(dict(parse_qsl(query, keep_blank_values=True)))
    encoded = urlencode(parameters, quote_via=quote, safe="")
    return f"{form['scheme']}{login}{at}{hosts}{path}{'?' if encoded else ''}{encoded}"


def _driver_parameters(parameters: dict[str, str]) -> dict[str, str]:
    if not parameters.keys() <= _PASSED_ON | _WITHOUT_EFFECT:
        raise ValueError(
            "has a parameter after the ? that is not supported; supported are "
            f"{', '.join(sorted(_PASSED_ON))}. If the ? belongs to the password, {_ESCAPES}"
        )
    if parameters.get("gssencmode", "disable") == "require":
        raise ValueError("gssencmode=require is not supported; use sslmode=verify-full")
    kept = {name: value for name, value in parameters.items() if name in _PASSED_ON}
    if kept.get("sslmode", "prefer") not in _SSL_MODES:
        raise ValueError(f"sslmode must be one of {', '.join(_SSL_MODES)}")
    if parameters.get("channel_binding") == "require":
        # The driver has no channel binding. A verified certificate prevents the same attack.
        kept["sslmode"] = "verify-full"
        kept.setdefault("sslrootcert", "system")
    if kept.get("sslrootcert") == "system":
        kept["sslrootcert"] = certifi.where()
    for name in _FILES:
        if name in kept and not os.access(kept[name], os.R_OK):
            raise ValueError(f"{name} must name a file that this process can read")
    return kept
