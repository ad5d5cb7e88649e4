"""The page of all settings, from the classes that read them."""

import inspect
from types import ModuleType
from typing import cast

from pydantic.fields import FieldInfo

from core.platform.settings import processes
from core.platform.settings.base import Settings
from docs.generate.markdown import code, first_sentence, page, paragraph, table

INTRO = """\
Every setting is an environment variable, or a line of `.env` in the working directory; the
environment wins. A missing or wrong setting stops a process at its start with exit code 2 and one
line per setting. `--help` of each process lists the settings that it reads. Variables of the local
stack, such as `TAKEONE_DATA_DIR`, are listed by `.venv/bin/python -m deploy.local --help`."""


def render() -> str:
    """Return the page: one table for each group of settings."""
    commands = _processes(processes)
    groups = dict.fromkeys(
        base for process in commands for base in _groups(process) if base.__annotations__
    )
    return page("Configuration", INTRO, *(_section(group, commands) for group in groups))


def _processes(module: ModuleType) -> dict[type[Settings], str]:
    """Return the classes that describe a whole process, each with its command."""
    return {
        member: first_sentence(member.__doc__).split("`")[1]
        for name, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Settings) and name.endswith("Process")
    }


def _groups(process: type[Settings]) -> list[type[Settings]]:
    bases = [base for base in process.__mro__ if issubclass(base, Settings)]
    return [base for base in reversed(bases) if base not in (process, Settings)]


def _section(group: type[Settings], commands: dict[type[Settings], str]) -> str:
    readers = ", ".join(
        sorted(
            f"`{command}`" for process, command in commands.items() if issubclass(process, group)
        )
    )
    rows = [
        (code(name.upper()), _default(group.model_fields[name]), _meaning(group.model_fields[name]))
        for name in group.__annotations__
        if name in group.model_fields
    ]
    title = group.__name__.removesuffix("Settings")
    intro = paragraph(f"{first_sentence(group.__doc__)} Read by {readers}.")
    return f"## {title}\n\n{intro}\n\n{table(('variable', 'default', 'meaning'), rows)}"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default: object = field.get_default()
    if default in (None, (), ""):
        return ""
    if isinstance(default, tuple):
        return code(",".join(str(part) for part in cast("tuple[object, ...]", default)))
    return code(str(default))


def _meaning(field: FieldInfo) -> str:
    text = field.description or ""
    return text[:1].upper() + text[1:]
