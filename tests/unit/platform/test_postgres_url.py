"""PostgreSQL addresses: reserved characters, libpq's parameters, and errors that quote nothing."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

import certifi
import pytest

from core.platform.settings.postgres_url import checked_postgres_url

connect_utils: Any = import_module("asyncpg.connect_utils")
RESERVED = "/?#[]@%"
PLAIN = "postgresql://app:pass@db.example:5432/takeone"


@pytest.mark.parametrize("character", RESERVED)
@pytest.mark.parametrize(
    "form", ["plan{}ted", "{}planted", "planted{}", "{}{}planted", "7{}planted"]
)
def test_raw_reserved_character_is_refused_without_a_quotation(character: str, form: str) -> None:
    password = form.replace("{}", character)
    with pytest.raises(ValueError, match=f"%{ord(character):02X}") as raised:
        checked_postgres_url(f"postgresql://app:{password}@db.example:5432/takeone")
    assert "planted" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_escaped_password_reaches_the_driver_unchanged() -> None:
    password = f"a{RESERVED}:+&=é z"
    checked = checked_postgres_url(f"postgresql://app:{quote(password, safe='')}@h:6432/db")
    addresses, parsed, *_ = connect_utils._parse_connect_arguments(
        dsn=checked, host=None, port=None, user=None, password=None, passfile=None, database=None,
        command_timeout=None, statement_cache_size=1, max_cached_statement_lifetime=1,
        max_cacheable_statement_size=1, ssl=None, direct_tls=None, server_settings=None,
        target_session_attrs=None, krbsrvname=None, gsslib=None, service=None, servicefile=None,
    )  # fmt: skip
    assert (addresses, parsed.user, parsed.password, parsed.database) == (
        [("h", 6432)],
        "app",
        password,
        "db",
    )


@pytest.mark.parametrize(
    "address",
    [
        PLAIN,
        "postgres://app@localhost/db",
        "postgresql://app@[::1]:5432/db?sslmode=disable",
        "postgresql://app:a@one:1,two:2/db?target_session_attrs=primary",
        "postgresql://app@/db?host=%2Fvar%2Frun%2Fpostgresql",
        "postgresql://app@h/db?options=endpoint%3Dep-1%20-c%20search_path%3Dx",
    ],
)
def test_address_that_the_driver_supports_is_unchanged(address: str) -> None:
    assert checked_postgres_url(address) == address


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("connect_timeout=10&application_name=x&keepalives=1", ""),
        ("sslmode=disable&channel_binding=prefer&gssencmode=prefer", "?sslmode=disable"),
        ("sslmode=require&sslmode=disable", "?sslmode=disable"),
        (
            "sslmode=require&channel_binding=require",
            f"?sslmode=verify-full&sslrootcert={quote(certifi.where(), safe='')}",
        ),
        (
            "sslmode=verify-ca&sslrootcert=system",
            f"?sslmode=verify-ca&sslrootcert={quote(certifi.where(), safe='')}",
        ),
    ],
)
def test_parameter_of_libpq_is_translated(query: str, expected: str) -> None:
    assert checked_postgres_url(f"{PLAIN}?{query}") == f"{PLAIN}{expected}"


def test_channel_binding_keeps_its_own_certificates(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    query = f"sslrootcert={tmp_path}/ca.pem&channel_binding=require"
    own = quote(f"{tmp_path}/ca.pem", safe="")
    expected = f"{PLAIN}?sslrootcert={own}&sslmode=verify-full"
    assert checked_postgres_url(f"{PLAIN}?{query}") == expected


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("planted=1", "supported are .*sslmode"),
        ("ssl=planted", "supported are .*sslmode"),
        ("gssencmode=require&user=planted", "gssencmode"),
        ("sslmode=planted", "sslmode must be one of disable"),
        ("sslrootcert=/planted.pem", "sslrootcert must name a file"),
        ("sslcert=/planted.pem", "sslcert must name a file"),
    ],
)
def test_unsupported_parameter_is_refused_without_a_quotation(query: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        checked_postgres_url(f"{PLAIN}?{query}")
    assert "planted" not in str(raised.value)


@pytest.mark.parametrize(
    "address",
    ["planted://x", "postgresql://app:pl an@h/planted", "postgresql://app@planted:x/d",
     "postgresql://app@planted:70000/d", "postgresql://a@h/planted\n"],
)  # fmt: skip
def test_other_text_is_refused_without_a_quotation(address: str) -> None:
    with pytest.raises(ValueError, match=r"postgresql://|percent-encode") as raised:
        checked_postgres_url(address)
    assert not re.search("planted|pl an", str(raised.value))
