"""ElevenLabs' speech models, their limits and prices.

Limits from elevenlabs.io/docs, prices from a reading of its price page for the API in 2026-06.
"""

from dataclasses import replace
from decimal import Decimal
from typing import Final

from core.domain.media.content import MediaKind
from core.domain.plans import StepKind
from core.domain.prices import Price, Unit
from core.providers.entries import number, text
from core.providers.models import Constant, Input, InputType, Measure, Model, OutputField
from core.providers.pricing import entry

MAX_CHARACTERS: Final = 10_000
"""Of one request, although some models take more: its audio has to arrive in one answer."""
TIMED_CHARACTERS: Final = 1_500
"""Longer texts are requested without word times, because an answer with times begins only when the
whole audio is made, and a create call does not wait for that.
"""
LONGEST_SPEECH_SECONDS: Final = 100
"""From the arrival of a request until its audio is complete and may be listed."""
OUTPUT_FORMAT: Final = "mp3_44100_128"
"""The best that every plan includes."""
SETTINGS: Final = "voice_settings"
_DEADLINE_SECONDS: Final = 900
_DEFAULT_VOICE: Final = "JBFqnCBsd6RMkjVDRZzb"
_READ_ON: Final = "2026-06-15"
_PRICE_PAGE: Final = "elevenlabs.io/pricing/api, by a third party"

_STABILITY: Final = number("stability", f"{SETTINGS}.stability", 0, 1, 0.5)
_SIMILARITY: Final = number("similarity_boost", f"{SETTINGS}.similarity_boost", 0, 1, 0.75)
_SPEED: Final = number("speed", f"{SETTINGS}.speed", 0.7, 1.2, 1.0)
_LANGUAGE: Final = text("language", "language_code")


def _speech(
    model_id: str,
    *inputs: Input,
    character_nano_usd: int,
    credits_per_character: str,
    max_characters: int = MAX_CHARACTERS,
) -> Model:
    return Model(
        id=model_id,
        kind=StepKind.AUDIO,
        body=(
            text("text", required=True, max_length=max_characters),
            # In the request's URL, not in its body.
            text("voice", "voice_id", default=_DEFAULT_VOICE, max_length=64),
            Constant("model_id", model_id),
            *inputs,
        ),
        outputs=(
            OutputField(path="audio", kind=MediaKind.AUDIO),
            OutputField(path="alignment", kind=MediaKind.TRANSCRIPT, companion=True),
        ),
        prices=(entry(Unit.CHARACTER, character_nano_usd, _PRICE_PAGE, _READ_ON),),
        measure=Measure(characters="text", credits_per_character=credits_per_character),
        usual_seconds=5,
        deadline_seconds=_DEADLINE_SECONDS,
        longest_run_seconds=LONGEST_SPEECH_SECONDS,
    )


MODELS: Final[tuple[Model, ...]] = (
    _speech(
        "eleven_multilingual_v2",
        _STABILITY,
        _SIMILARITY,
        _SPEED,
        character_nano_usd=100_000,
        credits_per_character="1",
    ),
    _speech(
        "eleven_flash_v2_5",
        _LANGUAGE,
        _STABILITY,
        _SIMILARITY,
        _SPEED,
        character_nano_usd=50_000,
        credits_per_character="0.5",
    ),
    _speech(
        "eleven_turbo_v2_5",
        _LANGUAGE,
        _STABILITY,
        _SIMILARITY,
        _SPEED,
        character_nano_usd=50_000,
        credits_per_character="0.5",
    ),
    _speech(
        "eleven_v3",
        _LANGUAGE,
        Input(
            name="stability",
            field=f"{SETTINGS}.stability",
            type=InputType.NUMBER,
            choices=(0.0, 0.5, 1.0),
            default=0.5,
        ),
        character_nano_usd=100_000,
        credits_per_character="1",
        max_characters=5_000,
    ),
)


def at_plan_price(model: Model, usd_per_credit: Decimal) -> Model:
    """Return the model at the price of a credit in the operator's plan."""
    price = Price(
        unit=Unit.CREDIT,
        unit_nano_usd=usd_per_credit * 10**9,
        source="ELEVENLABS_USD_PER_CREDIT",
        read_on=_READ_ON,
    )
    return replace(model, prices=(price,))
