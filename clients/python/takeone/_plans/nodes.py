"""Nodes of a composition: steps, and the files that they use. They are data; nothing is sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from takeone._calls.values import Media
from takeone._plans.variables import Variable

OnFailure = Literal["stop", "continue"]
DEFAULT_ON_FAILURE: Final = "stop"


@dataclass(frozen=True, eq=False)
class Node:
    """A step. The same node used twice is one step, which is bought once.

    name: in the plan; by default made of the kind, such as `video-1`. needs: further steps to wait
    for. reuse: of a paid step, whether to use the files of an equal earlier purchase; None: the
    default of the kind. count: so many candidates, of which an approval step chooses.
    """

    kind: str
    params: Mapping[str, object]
    name: str | None = None
    models: tuple[str, ...] = ()
    provider: str | None = None
    needs: tuple["Node", ...] = ()
    on_failure: OnFailure = DEFAULT_ON_FAILURE
    deadline_seconds: int | None = None
    reuse: bool | None = None
    count: int | None = None

    def output(self, name: str | int) -> "Output":
        """Return one of the step's files by its name, for example `words` or `srt`."""
        return Output(self, name)

    def candidate(self, number: int) -> "Output":
        """Return the file of one candidate of a step with a count; the first has the number 1."""
        if self.count is None or not 1 <= number <= self.count:
            raise ValueError(f"{self!r} has no candidate {number}: its count is {self.count}.")
        return Output(self, candidate=number)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name or self.kind!r})"


@dataclass(frozen=True)
class Output:
    """A file of a step. optional: an item of a list that is left out if its step failed."""

    node: Node
    name: str | int | None = None
    optional: bool = False
    candidate: int | None = None


@dataclass(frozen=True)
class ModelChoice:
    """A model, and the provider where several have one of this name."""

    id: str
    provider: str | None = None
    kind: str | None = field(default=None)


File = Media | Node | Output | Variable
"""A file that a step uses: that of another step, an asset, an address, or a variable."""
Item = File | Mapping[str, object]
"""A file of a list, or a mapping with it as `media` and further settings."""
Choice = ModelChoice | str | Sequence[ModelChoice | str] | None
"""A model, or a model and its alternatives."""


def optional(file: Node | Output) -> Output:
    """Return a file of a list that is left out if its step, with `on_failure="continue"`, fails."""
    output = file if isinstance(file, Output) else Output(file)
    return replace(output, optional=True)


def video_model(model: str, provider: str | None = None) -> ModelChoice:
    """Choose a model that makes videos."""
    return ModelChoice(model, provider, "video")


def image_model(model: str, provider: str | None = None) -> ModelChoice:
    """Choose a model that makes images."""
    return ModelChoice(model, provider, "image")


def audio_model(model: str, provider: str | None = None) -> ModelChoice:
    """Choose a model that makes speech."""
    return ModelChoice(model, provider, "audio")
