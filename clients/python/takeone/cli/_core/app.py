"""The context of a command: its profile, its output form and its client."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from takeone.cli._core import output, profiles
from takeone.cli._core.exits import Exit, StopError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from takeone import AsyncTakeone, Takeone


@dataclass
class App:
    """What the options that all commands have in common decide."""

    profile_name: str | None = None
    json: bool = False

    @cached_property
    def profile(self) -> profiles.Profile:
        return profiles.choose(self.profile_name)

    @cached_property
    def client(self) -> "Takeone":
        """The blocking client of the profile."""
        from takeone import Takeone

        base_url, api_key = self._access()
        return Takeone(api_key, base_url)

    def open_async(self) -> "AsyncTakeone":
        """Return a client for asyncio, which the caller closes."""
        from takeone import AsyncTakeone

        base_url, api_key = self._access()
        return AsyncTakeone(api_key, base_url)

    def _access(self) -> tuple[str, str]:
        chosen = self.profile
        if not chosen.api_key or not chosen.base_url:
            missing = "API key" if chosen.base_url else "address of a service"
            raise StopError(
                Exit.AUTHENTICATION,
                f"There is no {missing}. Run `takeone login`, or set TAKEONE_BASE_URL and "
                "TAKEONE_API_KEY.",
            )
        return chosen.base_url, chosen.api_key

    def show(
        self,
        result: "BaseModel | Mapping[str, Any]",
        people: Callable[[], None],
    ) -> None:
        """Print a result: as JSON, or by a function for people."""
        if self.json:
            output.document(result)
        else:
            people()

    def show_list(
        self,
        items: "Sequence[BaseModel | Mapping[str, Any]]",
        columns: Sequence[str],
        row: Callable[[Any], Sequence[object]],
    ) -> None:
        """Print a list: `{"data": […]}` as JSON, or a table."""
        self.show({"data": items}, lambda: output.table(columns, map(row, items)))

    def close(self) -> None:
        """Close the client, if it was opened."""
        if "client" in self.__dict__:
            self.client.close()


def _set_profile(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(App).profile_name = value


def _set_json(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(App).json = True


def profile_option() -> click.Option:
    """Return the option --profile."""
    return click.Option(
        ["--profile"],
        expose_value=False,
        callback=_set_profile,
        metavar="NAME",
        help="Use this profile of `takeone config list`.",
    )


def json_option() -> click.Option:
    """Return the option --json."""
    return click.Option(
        ["--json"],
        is_flag=True,
        expose_value=False,
        callback=_set_json,
        help="Print JSON for programs on standard output.",
    )


class Command(click.Command):
    """A command with --json and --profile."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params += [json_option(), profile_option()]


class Group(click.Group):
    """A group of commands."""

    command_class = Command
    group_class = type

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. The reader of its output, for example `head`, may end before it."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise StopError(Exit.DONE, reported=True) from None


pass_app = click.make_pass_decorator(App, ensure=True)
