"""Fields that many models share."""

from sandbox.models.fields import Field, Role

PROMPT = Field(kind="string", role="prompt", required=True)
SEED = Field(kind="integer", role="seed")
FLAG = Field(kind="boolean")
TEXT = Field(kind="string")
SOUND = Field(kind="boolean", role="sound", default=True)


def url(role: Role, *, required: bool = True, seconds: tuple[float, float] | None = None) -> Field:
    """Return the field of a file that the vendor fetches."""
    return Field(kind="string", role=role, required=required, seconds=seconds)


def urls(role: Role, *, required: bool = True) -> Field:
    """Return the field of a list of files, of which the sandbox renders the first."""
    return Field(kind="list", role=role, required=required)


def choice(
    role: Role | None, choices: tuple[str | int, ...], default: str | int | None = None, *, required: bool = False
) -> Field:  # fmt: skip
    kind = "integer" if choices and isinstance(choices[0], int) else "string"
    return Field(kind=kind, role=role, choices=choices, default=default, required=required)


def number(
    role: Role | None, default: float | None, minimum: float | None, maximum: float | None
) -> Field:
    return Field(kind="number", role=role, default=default, minimum=minimum, maximum=maximum)


def count(maximum: int = 4) -> Field:
    return Field(kind="integer", role="count", default=1, minimum=1, maximum=maximum)
