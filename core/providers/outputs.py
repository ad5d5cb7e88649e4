"""The files of a vendor's result, read from the paths in a model's entry."""

from collections.abc import Iterable, Mapping

from core.domain.messages.jobs import Output
from core.providers.http.responses import as_list, as_media_url, as_object
from core.providers.models import OutputField, OutputForm
from core.providers.transcripts import characters_transcript, inline_url, words_transcript


def read_outputs(fields: Iterable[OutputField], body: Mapping[str, object]) -> tuple[Output, ...]:
    """Return the files in the order of the fields."""
    outputs: list[Output] = []
    for field in fields:
        if outputs or not field.companion:
            urls = _urls(field.form, value_at(body, field.path))
            outputs += [Output(url=url, kind=field.kind) for url in urls]
    return tuple(outputs)


def value_at(body: Mapping[str, object], path: str) -> object:
    """Return the value at a path of names separated by dots, or None."""
    value: object = body
    for name in path.split(".") if path else ():
        value = as_object(value).get(name)
    return value


def _urls(form: OutputForm, value: object) -> list[str]:
    match form:
        case OutputForm.FILE:
            return _file_urls(value)
        case OutputForm.WORDS:
            transcript = words_transcript(as_object(value))
        case OutputForm.CHARACTERS:
            transcript = characters_transcript(as_list(value) or [value])
    return [] if transcript is None else [inline_url(transcript)]


def _file_urls(value: object) -> list[str]:
    items = as_list(value) or [value]
    urls = (as_media_url(as_object(item).get("url") or item) for item in items)
    return [url for url in urls if url]
