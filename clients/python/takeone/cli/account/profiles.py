"""Profiles: log in, log out, list, use, show and change."""

import ipaddress
import sys
from typing import Final

import click

from takeone.cli._core import output, profiles, values
from takeone.cli._core.app import App, Command, Group, pass_app
from takeone.cli._core.exits import Exit, StopError

LOCAL: Final = "http://127.0.0.1:8080"
"""Where `make up` and `takeone dev` serve the API."""


@click.command(cls=Command)
@click.option("--base-url", metavar="URL", help="The address of the service.")
@pass_app
def login(app: App, base_url: str | None) -> None:
    """Store an address and an API key as a profile.

    They are checked first. The key is asked for on a terminal, else read from standard input. It is
    never an argument, which other users of the machine could see.
    """
    content = profiles.read()
    name = profiles.check_name(app.profile_name or content.current)
    known = content.profiles.get(name, {})
    terminal = sys.stdin.isatty()
    url = base_url
    if url is None and terminal:
        default = known.get("base_url", LOCAL)
        url = click.prompt("Address of the service", default=default, err=True)
    url = url or known.get("base_url") or LOCAL
    if not url.startswith(("http://", "https://")):
        raise StopError(Exit.USAGE, "The address must start with http:// or https://.")
    key: str = (
        click.prompt("API key", hide_input=True, err=True) if terminal else sys.stdin.readline()
    )
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise StopError(Exit.USAGE, "The API key must be one line of printable ASCII characters.")
    if _is_exposed(url):
        output.note("Warning: this address has no TLS, so others may read the API key on its way.")
    _check(url, key)
    content.profiles[name] = {**known, "base_url": url.rstrip("/"), "api_key": key}
    content.current = name
    profiles.write(content)
    shown = {"profile": name, "baseUrl": url, "file": str(profiles.path())}
    app.show(shown, lambda: output.note(f"Stored as profile {name!r} in {profiles.path()}"))


def _is_exposed(url: str) -> bool:
    """Return whether a key would travel unencrypted, beyond this machine and its network."""
    from httpx import URL, InvalidURL

    if not url.startswith("http://"):
        return False
    try:
        host = URL(url).host
    except InvalidURL:
        return False  # the check of the key refuses it
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." in host
    return not (address.is_loopback or address.is_private)


def _check(url: str, key: str) -> None:
    """Read the usage with the key. A key without the scope `read` is valid, too."""
    from takeone import Takeone
    from takeone.errors import ForbiddenError

    with Takeone(key, url) as client:
        try:
            client.usage.get()
        except ForbiddenError as error:
            output.note(f"The key is valid. It lacks scopes: {', '.join(error.missing_scopes)}")


@click.command(cls=Command)
@pass_app
def logout(app: App) -> None:
    """Remove a profile with its API key from this machine.

    The key stays valid.
    """
    content = profiles.read()
    name = app.profile_name or content.current
    if content.profiles.pop(name, None) is None:
        raise StopError(Exit.NOT_FOUND, f"There is no profile {name!r}.")
    if content.current == name:
        content.current = next(iter(content.profiles), profiles.DEFAULT)
    profiles.write(content)
    app.show({"removed": name}, lambda: output.note(f"Removed profile {name!r}"))


@click.group(cls=Group)
def config() -> None:
    """List, choose and change profiles."""


@config.command("list")
@pass_app
def list_(app: App) -> None:
    """List profiles, without their keys."""
    content = profiles.read()
    rows = [_public(name, stored, content.current) for name, stored in content.profiles.items()]
    app.show_list(
        rows,
        ("profile", "current", "address", "confirm above"),
        lambda row: (row["profile"], row["current"], row["baseUrl"], f"${row['confirmAbove']}"),
    )


def _public(name: str, stored: dict[str, str], current: str) -> dict[str, object]:
    return {
        "profile": name,
        "current": name == current,
        "baseUrl": stored.get("base_url"),
        "confirmAbove": stored.get("confirm_above", str(profiles.CONFIRM_ABOVE)),
    }


@config.command()
@click.argument("name")
@pass_app
def use(app: App, name: str) -> None:
    """Use a profile where no other is named."""
    content = profiles.read()
    if name not in content.profiles:
        known = ", ".join(content.profiles) or "none yet"
        raise StopError(Exit.NOT_FOUND, f"There is no profile {name!r}. Profiles: {known}.")
    content.current = name
    profiles.write(content)
    app.show({"profile": name}, lambda: output.note(f"Using profile {name!r}"))


@config.command()
@pass_app
def show(app: App) -> None:
    """Show the settings of a command, as chosen now, without the key."""
    chosen = app.profile
    shown = {
        "profile": chosen.name,
        "baseUrl": chosen.base_url,
        "apiKey": "set" if chosen.api_key else "not set",
        "confirmAbove": chosen.confirm_above,
        "file": str(profiles.path()),
    }
    app.show(shown, lambda: output.facts(shown))


@config.command("set")
@click.argument("name", type=click.Choice(["base_url", "confirm_above"]))
@click.argument("value")
@pass_app
def set_(app: App, name: str, value: str) -> None:
    """Change a setting of a profile.

    confirm_above: in US dollars; orders that may cost more are confirmed.
    """
    content = profiles.read()
    profile = profiles.check_name(app.profile_name or content.current)
    if name == "confirm_above":
        value = output.text(values.amount(value, name))
    elif not value.startswith(("http://", "https://")):
        raise StopError(Exit.USAGE, "base_url must start with http:// or https://.")
    content.profiles.setdefault(profile, {})[name] = value
    profiles.write(content)
    app.show(
        {"profile": profile, name: value},
        lambda: output.note(f"{name} of profile {profile!r} is {value}"),
    )
