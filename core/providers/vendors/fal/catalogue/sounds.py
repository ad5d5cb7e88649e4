"""fal's models that make speech and that transcribe it."""

from typing import Final

from core.domain.media.content import MediaKind
from core.domain.plans import StepKind
from core.domain.prices import Unit
from core.providers.entries import (
    AUDIO,
    WORDS,
    choice,
    language,
    media,
    named_language,
    number,
    text,
)
from core.providers.models import (
    Constant,
    Input,
    InputType,
    Measure,
    Model,
    OutputField,
    OutputForm,
)
from core.providers.pricing import entry
from core.providers.vendors.fal.catalogue.jobs import PAGE, READ_ON, long_model, quick_model

_TIMED_SPEECH: Final = (
    *AUDIO,
    OutputField(
        path="timestamps", kind=MediaKind.TRANSCRIPT, form=OutputForm.CHARACTERS, companion=True
    ),
)
_CHARACTERS: Final = Measure(characters="text")
_LONGEST_RECORDING_SECONDS: Final = 7200
_RECORDING: Final = media(
    "source", "audio_url", InputType.AUDIO, seconds=(0, _LONGEST_RECORDING_SECONDS)
)


def _elevenlabs_speech(model: str, *inputs: Input, max_length: int, nano_usd: int) -> Model:
    return quick_model(
        f"fal-ai/elevenlabs/tts/{model}",
        StepKind.AUDIO,
        text("text", "text", required=True, max_length=max_length),
        text("voice", "voice", default="Rachel", max_length=64),
        number("stability", "stability", 0, 1, 0.5),
        *inputs,
        language(),
        Constant("timestamps", True),
        Constant("apply_text_normalization", "auto"),
        outputs=_TIMED_SPEECH,
        prices=(entry(Unit.THOUSAND_CHARACTERS, nano_usd, PAGE, READ_ON),),
        measure=_CHARACTERS,
        usual_seconds=6,
    )


def _scribe(version: str, *, minute_nano_usd: int) -> Model:
    """Return a model whose page has a price per minute; a started one is assumed to count."""
    return long_model(
        f"fal-ai/elevenlabs/speech-to-text{version}",
        StepKind.TRANSCRIPT,
        _RECORDING,
        language(),
        Constant("diarize", True),
        Constant("tag_audio_events", False),
        outputs=WORDS,
        prices=(entry(Unit.MINUTE, minute_nano_usd, PAGE, READ_ON),),
        measure=Measure(seconds_of=("source",)),
        usual_seconds=15,
    )


_KOKORO_VOICES: Final = (
    "af_heart", "af_alloy", "af_aoede", "af_bella", "af_jessica", "af_kore", "af_nicole",
    "af_nova", "af_river", "af_sarah", "af_sky", "am_adam", "am_echo", "am_eric", "am_fenrir",
    "am_liam", "am_michael", "am_onyx", "am_puck", "am_santa",
)  # fmt: skip
_XAI_LANGUAGES: Final = (
    "auto", "ar", "cs", "da", "de", "en", "es", "fa", "fil", "fr", "hi", "id", "it", "ja", "ko",
    "mk", "ms", "nl", "pl", "pt", "ro", "ru", "sv", "th", "tr", "vi",
)  # fmt: skip

SOUND_MODELS: Final[tuple[Model, ...]] = (
    _elevenlabs_speech(
        "turbo-v2.5",
        number("similarity_boost", "similarity_boost", 0, 1, 0.75),
        number("speed", "speed", 0.7, 1.2, 1),
        max_length=10_000,
        nano_usd=50_000_000,
    ),
    _elevenlabs_speech("eleven-v3", max_length=5_000, nano_usd=100_000_000),
    quick_model(
        "fal-ai/minimax/speech-2.8-hd",
        StepKind.AUDIO,
        text("text", "prompt", required=True, max_length=10_000),
        text("voice", "voice_setting.voice_id", default="Wise_Woman", max_length=64),
        number("speed", "voice_setting.speed", 0.5, 2, 1),
        named_language("language_boost"),
        Constant("output_format", "url"),
        outputs=AUDIO,
        prices=(entry(Unit.THOUSAND_CHARACTERS, 100_000_000, PAGE, READ_ON),),
        measure=_CHARACTERS,
        usual_seconds=8,
    ),
    quick_model(
        "fal-ai/kokoro/american-english",
        StepKind.AUDIO,
        text("text", "prompt", required=True, max_length=10_000),
        choice("voice", "voice", _KOKORO_VOICES, "af_heart"),
        number("speed", "speed", 0.1, 5, 1),
        outputs=AUDIO,
        prices=(
            entry(
                Unit.THOUSAND_CHARACTERS,
                20_000_000,
                "third parties that quote api.fal.ai/v1/models/pricing",
                READ_ON,
            ),
        ),
        measure=_CHARACTERS,
        usual_seconds=4,
    ),
    _scribe("/scribe-v2", minute_nano_usd=8_000_000),
    _scribe("", minute_nano_usd=30_000_000),
    long_model(
        "xai/speech-to-text/v1",
        StepKind.TRANSCRIPT,
        _RECORDING,
        choice("language", "language", _XAI_LANGUAGES, "auto"),
        Constant("diarize", True),
        Constant("format", False),
        outputs=WORDS,
        # Its page: "duration is rounded up to the nearest full minute".
        prices=(entry(Unit.MINUTE, 1_667_000, PAGE, READ_ON),),
        measure=Measure(seconds_of=("source",)),
        usual_seconds=10,
    ),
)
