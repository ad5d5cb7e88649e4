"""Builders of paid steps. Further parameters are those of the model, as `models.list` has them."""

from collections.abc import Mapping, Sequence

from takeone._plans.nodes import Choice, File, ModelChoice, Node, OnFailure
from takeone._plans.variables import Fill, Text

Parameter = File | Fill | int | float | bool | None


def step(
    kind: str,
    params: Mapping[str, object],
    *,
    model: Choice = None,
    provider: str | None = None,
    name: str | None = None,
    needs: Sequence[Node] = (),
    on_failure: OnFailure = "stop",
    deadline_seconds: int | None = None,
    reuse: bool | None = None,
    count: int | None = None,
) -> Node:
    """Return a step of any kind, also of one that this version has no builder for.

    count: so many candidates of a paid step, of which an approval step chooses.
    """
    choices = _choices(model)
    for choice in choices:
        if choice.kind not in (None, kind):
            raise ValueError(f"{choice.id} was chosen for {choice.kind}; this step makes {kind}")
    providers = {each for each in (provider, *(choice.provider for choice in choices)) if each}
    if len(providers) > 1:
        raise ValueError("A step and its models must name one provider at most.")
    return Node(
        kind=kind,
        params=params,
        name=name,
        models=tuple(choice.id for choice in choices),
        provider=next(iter(providers), None),
        needs=tuple(needs),
        on_failure=on_failure,
        deadline_seconds=deadline_seconds,
        reuse=reuse,
        count=count,
    )


def _choices(model: Choice) -> Sequence[ModelChoice]:
    if model is None:
        return ()
    several = [model] if isinstance(model, str | ModelChoice) else model
    return [ModelChoice(each) if isinstance(each, str) else each for each in several]


# The builders differ in their files and texts only; each has its own signature for editors.


def generate_image(
    *,
    prompt: Text,
    model: Choice = None,
    provider: str | None = None,
    name: str | None = None,
    needs: Sequence[Node] = (),
    on_failure: OnFailure = "stop",
    deadline_seconds: int | None = None,
    reuse: bool | None = None,
    count: int | None = None,
    **params: Parameter,
) -> Node:
    """Make an image from a prompt, or by editing `image`."""
    return step(
        "image",
        {"prompt": prompt, **params},
        model=model,
        provider=provider,
        name=name,
        needs=needs,
        on_failure=on_failure,
        deadline_seconds=deadline_seconds,
        reuse=reuse,
        count=count,
    )


def generate_video(
    *,
    prompt: Text,
    model: Choice = None,
    provider: str | None = None,
    name: str | None = None,
    needs: Sequence[Node] = (),
    on_failure: OnFailure = "stop",
    deadline_seconds: int | None = None,
    reuse: bool | None = None,
    count: int | None = None,
    **params: Parameter,
) -> Node:
    """Make a video from a prompt, or from `image` as its first frame."""
    return step(
        "video",
        {"prompt": prompt, **params},
        model=model,
        provider=provider,
        name=name,
        needs=needs,
        on_failure=on_failure,
        deadline_seconds=deadline_seconds,
        reuse=reuse,
        count=count,
    )


def generate_audio(
    *,
    text: Text,
    model: Choice = None,
    provider: str | None = None,
    name: str | None = None,
    needs: Sequence[Node] = (),
    on_failure: OnFailure = "stop",
    deadline_seconds: int | None = None,
    reuse: bool | None = None,
    count: int | None = None,
    **params: Parameter,
) -> Node:
    """Speak a text. Models with word times also have the output `words`."""
    return step(
        "audio",
        {"text": text, **params},
        model=model,
        provider=provider,
        name=name,
        needs=needs,
        on_failure=on_failure,
        deadline_seconds=deadline_seconds,
        reuse=reuse,
        count=count,
    )


def transcribe(
    source: File,
    *,
    model: Choice = None,
    provider: str | None = None,
    name: str | None = None,
    needs: Sequence[Node] = (),
    on_failure: OnFailure = "stop",
    deadline_seconds: int | None = None,
    reuse: bool | None = None,
    count: int | None = None,
    **params: Parameter,
) -> Node:
    """Write down the words of a sound, with their times."""
    return step(
        "transcript",
        {"source": source, **params},
        model=model,
        provider=provider,
        name=name,
        needs=needs,
        on_failure=on_failure,
        deadline_seconds=deadline_seconds,
        reuse=reuse,
        count=count,
    )


def remove_background(
    source: File,
    *,
    model: Choice = None,
    provider: str | None = None,
    name: str | None = None,
    needs: Sequence[Node] = (),
    on_failure: OnFailure = "stop",
    deadline_seconds: int | None = None,
    reuse: bool | None = None,
    count: int | None = None,
    **params: Parameter,
) -> Node:
    """Remove the background of a picture or video."""
    return step(
        "cutout",
        {"source": source, **params},
        model=model,
        provider=provider,
        name=name,
        needs=needs,
        on_failure=on_failure,
        deadline_seconds=deadline_seconds,
        reuse=reuse,
        count=count,
    )


def lip_sync(
    source: File,
    audio: File,
    *,
    model: Choice = None,
    provider: str | None = None,
    name: str | None = None,
    needs: Sequence[Node] = (),
    on_failure: OnFailure = "stop",
    deadline_seconds: int | None = None,
    reuse: bool | None = None,
    count: int | None = None,
    **params: Parameter,
) -> Node:
    """Move the lips of a video to a sound."""
    return step(
        "lip-sync",
        {"source": source, "audio": audio, **params},
        model=model,
        provider=provider,
        name=name,
        needs=needs,
        on_failure=on_failure,
        deadline_seconds=deadline_seconds,
        reuse=reuse,
        count=count,
    )


def talking_head(
    image: File,
    audio: File,
    *,
    model: Choice = None,
    provider: str | None = None,
    name: str | None = None,
    needs: Sequence[Node] = (),
    on_failure: OnFailure = "stop",
    deadline_seconds: int | None = None,
    reuse: bool | None = None,
    count: int | None = None,
    **params: Parameter,
) -> Node:
    """Make a portrait speak a sound."""
    return step(
        "talking-head",
        {"image": image, "audio": audio, **params},
        model=model,
        provider=provider,
        name=name,
        needs=needs,
        on_failure=on_failure,
        deadline_seconds=deadline_seconds,
        reuse=reuse,
        count=count,
    )


def upscale(
    source: File,
    *,
    model: Choice = None,
    provider: str | None = None,
    name: str | None = None,
    needs: Sequence[Node] = (),
    on_failure: OnFailure = "stop",
    deadline_seconds: int | None = None,
    reuse: bool | None = None,
    count: int | None = None,
    **params: Parameter,
) -> Node:
    """Enlarge a picture."""
    return step(
        "upscale",
        {"source": source, **params},
        model=model,
        provider=provider,
        name=name,
        needs=needs,
        on_failure=on_failure,
        deadline_seconds=deadline_seconds,
        reuse=reuse,
        count=count,
    )
