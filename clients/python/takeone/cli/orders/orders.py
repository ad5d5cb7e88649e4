"""Orders: videos, pictures, speech, transcripts, and their prices."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from takeone.cli._core import values
from takeone.cli._core.app import App, Command, pass_app
from takeone.cli._core.ordering import order_options, place, show_quote, split

F = TypeVar("F", bound=Callable[..., Any])

FILE: Final = "FILE|URL|ASSET"
MEDIA_FIELDS: Final = ("image", "end_image", "audio")
VIDEO_OPTIONS = (
    click.option("--model", "video_model", metavar="ID", help="See `takeone models`."),
    click.option("--image-model", metavar="ID", help="The model of the first picture."),
    click.option("--duration", type=int, metavar="SECONDS", help="The length of the video."),
    click.option("--resolution", metavar="TEXT", help="For example 480p or 1080p."),
    click.option("--aspect-ratio", metavar="W:H", help="For example 16:9 or 9:16."),
    click.option("--image", metavar=FILE, help="The first picture, instead of a bought one."),
    click.option("--end-image", metavar=FILE, help="The last picture."),
    click.option("--audio", metavar=FILE, help="Sound that the video follows."),
    click.option("--text-to-video", is_flag=True, help="Make the video without a picture."),
    click.option("--negative-prompt", metavar="TEXT", help="What the video must not show."),
    click.option("--seed", type=int, metavar="NUMBER", help="For models that take one."),
)


def video_options(command: F) -> F:
    """Add the options that decide the content and the price of a video."""
    for option in reversed(VIDEO_OPTIONS):
        command = option(command)
    return command


def _video_fields(app: App, prompt: str, options: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {"prompt": _text(prompt), **options}
    fields["text_to_video"] = fields["text_to_video"] or None
    return _with_media(app, fields)


def _with_media(app: App, fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields with files as references; local files are uploaded, free of charge."""
    return {
        name: values.media(app.client, value) if name in MEDIA_FIELDS and value else value
        for name, value in fields.items()
    }


def _text(argument: str) -> str:
    """Return a text; `-` reads it from standard input."""
    return values.content("-").strip() if argument == "-" else argument


@click.command(cls=Command)
@click.argument("prompt")
@video_options
@order_options
@pass_app
def generate(app: App, prompt: str, **options: Any) -> None:
    """Order a video from a prompt.

    PROMPT may be `-`, for standard input. The price comes first. Above `confirm_above` of the
    profile ($1) the order is confirmed; without a terminal it needs --max-cost or --yes.
    """
    ordering, rest = split(options)
    fields = _video_fields(app, prompt, rest)
    client = app.client
    place(
        app,
        ordering,
        lambda: client.quotes.video(**fields),
        lambda key: client.executions.generate_video(
            idempotency_key=key, **fields, **ordering.fields()
        ),
    )


@click.command(cls=Command)
@click.argument("prompt")
@video_options
@pass_app
def quote(app: App, prompt: str, **options: Any) -> None:
    """Show what a video may cost. Nothing is ordered or held."""
    price = app.client.quotes.video(**_video_fields(app, prompt, options))
    app.show(price, lambda: show_quote(price))


@click.command(cls=Command)
@click.argument("prompt")
@click.option("--model", metavar="ID", help="See `takeone models --kind image`.")
@click.option("--image", metavar=FILE, help="A picture to edit.")
@click.option("--resolution", metavar="TEXT", help="For example 1080p.")
@click.option("--aspect-ratio", metavar="W:H", help="For example 16:9 or 9:16.")
@click.option("--negative-prompt", metavar="TEXT", help="What the picture must not show.")
@click.option("--seed", type=int, metavar="NUMBER", help="For models that take one.")
@order_options
@pass_app
def image(app: App, prompt: str, **options: Any) -> None:
    """Order a picture from a prompt."""
    ordering, rest = split(options)
    fields = _with_media(app, {"prompt": _text(prompt), **rest})
    client = app.client
    place(
        app,
        ordering,
        lambda: client.quotes.image(**fields),
        lambda key: client.executions.generate_image(
            idempotency_key=key, **fields, **ordering.fields()
        ),
    )


@click.command(cls=Command)
@click.argument("text")
@click.option("--model", metavar="ID", help="See `takeone models --kind audio`.")
@click.option("--voice", metavar="TEXT", help="A voice of the model.")
@click.option("--language", metavar="CODE", help="For example en or de.")
@click.option("--speed", type=float, metavar="FACTOR", help="1 is the usual speed.")
@click.option("--seed", type=int, metavar="NUMBER", help="For models that take one.")
@order_options
@pass_app
def audio(app: App, text: str, **options: Any) -> None:
    """Order speech.

    TEXT may be `-`, for standard input.
    """
    ordering, rest = split(options)
    fields: dict[str, Any] = {"text": _text(text), **rest}
    client = app.client
    place(
        app,
        ordering,
        lambda: client.quotes.audio(**fields),
        lambda key: client.executions.generate_audio(
            idempotency_key=key, **fields, **ordering.fields()
        ),
    )


@click.command(cls=Command)
@click.argument("source", metavar=FILE)
@click.option("--model", metavar="ID", help="See `takeone models --kind transcript`.")
@click.option("--language", metavar="CODE", help="The spoken language. Default: recognised.")
@order_options
@pass_app
def transcribe(app: App, source: str, **options: Any) -> None:
    """Order a transcript of sound, also that of a video."""
    ordering, rest = split(options)
    fields: dict[str, Any] = {"source": values.media(app.client, source), **rest}
    client = app.client
    place(
        app,
        ordering,
        lambda: client.quotes.transcript(**fields),
        lambda key: client.executions.transcribe(
            idempotency_key=key, **fields, **ordering.fields()
        ),
    )
