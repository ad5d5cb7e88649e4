"""Captions as text files for players: SubRip and WebVTT."""

from collections.abc import Sequence

from core.media.operations.captions.grouping import Caption, text_of


def srt_file(captions: Sequence[Caption]) -> str:
    """Return SubRip. It has no escapes, so players may take `<i>` in a word for a command."""
    cues = (
        f"{number}\n{_times(caption, ',')}\n{text_of(caption.words)}\n"
        for number, caption in enumerate(captions, start=1)
    )
    return "\n".join(cues) or "\n"


def vtt_file(captions: Sequence[Caption]) -> str:
    """Return WebVTT."""
    cues = (f"{_times(caption, '.')}\n{_escaped(text_of(caption.words))}\n" for caption in captions)
    return "\n".join(["WEBVTT\n", *cues])


def _times(caption: Caption, point: str) -> str:
    start = round(1000 * caption.start)
    end = max(round(1000 * caption.end), start + 1)
    return f"{_time(start, point)} --> {_time(end, point)}"


def _time(milliseconds: int, point: str) -> str:
    minutes, rest = divmod(milliseconds, 60_000)
    seconds, thousandths = divmod(rest, 1000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}{point}{thousandths:03d}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
