"""Replicate's models that make speech."""

from typing import Final

from core.domain.plans import StepKind
from core.domain.prices import Unit
from core.providers.entries import named_language, number, text
from core.providers.models import Constant, Measure, Model
from core.providers.pricing import entry
from core.providers.vendors.replicate.catalogue.jobs import AUDIO, PAGE, READ_ON, quick_model

SOUND_MODELS: Final[tuple[Model, ...]] = (
    quick_model(
        "minimax/speech-2.6-turbo",
        StepKind.AUDIO,
        text("text", "text", required=True, max_length=10_000),
        text("voice", "voice_id", default="Wise_Woman", max_length=64),
        number("speed", "speed", 0.5, 2, 1),
        named_language("language_boost"),
        Constant("audio_format", "mp3"),
        Constant("sample_rate", 44100),
        Constant("channel", "mono"),
        outputs=AUDIO,
        # Its page: $0.06 per thousand input tokens, and a token is a character.
        prices=(entry(Unit.THOUSAND_CHARACTERS, 60_000_000, PAGE, READ_ON),),
        measure=Measure(characters="text"),
        usual_seconds=6,
    ),
    quick_model(
        "elevenlabs/v3",
        StepKind.AUDIO,
        text("text", "prompt", required=True, max_length=5_000),
        text("voice", "voice", default="Rachel", max_length=64),
        number("stability", "stability", 0, 1, 0.5),
        number("similarity_boost", "similarity_boost", 0, 1, 0.75),
        number("speed", "speed", 0.7, 1.2, 1),
        text("language", "language_code", default="en", max_length=32),
        outputs=AUDIO,
        prices=(
            entry(
                Unit.THOUSAND_CHARACTERS,
                100_000_000,
                "a third party that cites " + PAGE,
                "2026-10-06",
            ),
        ),
        measure=Measure(characters="text"),
        usual_seconds=6,
    ),
)
