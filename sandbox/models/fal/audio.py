"""fal's models that speak a text or transcribe speech."""

from sandbox.models.common import FLAG, PROMPT, TEXT, choice, number, url
from sandbox.models.fields import Field
from sandbox.models.model import Model
from sandbox.models.prices import Rate

_NORMALIZATION = choice(None, ("auto", "on", "off"), "auto")
_TIMESTAMPS = Field(kind="boolean", role="timestamps", default=False)
_VOICE = Field(kind="string", role="voice", default="Rachel")
_SCRIBE = {"audio_url": url("audio"), "language_code": TEXT, "diarize": FLAG, "tag_audio_events": FLAG}  # fmt: skip
_SCRIBE_ALSO = ("language_code", "language_probability")
_KOKORO_VOICES = (
    "af_heart", "af_alloy", "af_aoede", "af_bella", "af_jessica", "af_kore", "af_nicole", "af_nova", "af_river",
    "af_sarah", "af_sky", "am_adam", "am_echo", "am_eric", "am_fenrir", "am_liam", "am_michael", "am_onyx",
    "am_puck", "am_santa",
)  # fmt: skip
_GROK_LANGUAGES = (
    "auto", "ar", "cs", "da", "de", "en", "es", "fa", "fil", "fr", "hi", "id", "it", "ja", "ko", "mk", "ms", "nl",
    "pl", "pt", "ro", "ru", "sv", "th", "tr", "vi",
)  # fmt: skip
_BOOSTS = (
    "Chinese", "Chinese,Yue", "English", "Arabic", "Russian", "Spanish", "French", "Portuguese", "German", "Turkish",
    "Dutch", "Ukrainian", "Vietnamese", "Indonesian", "Japanese", "Italian", "Korean", "Thai", "Polish", "Romanian",
    "Greek", "Czech", "Finnish", "Hindi", "Bulgarian", "Danish", "Hebrew", "Malay", "Slovak", "Swedish", "Croatian",
    "Hungarian", "Norwegian", "Slovenian", "Catalan", "Nynorsk", "Afrikaans", "auto",
)  # fmt: skip


def _text(longest: int) -> Field:
    return Field(kind="string", role="prompt", required=True, max_length=longest)


MODELS = (
    Model(
        provider="fal", name="fal-ai/elevenlabs/tts/turbo-v2.5", kind="audio", output="audio", also=("timestamps",),
        file_format="mp3", rates=(Rate(unit="1000 characters", nano_usd=50_000_000),),
        fields={
            "text": _text(40_000),
            "voice": _VOICE,
            "stability": number(None, 0.5, 0, 1),
            "similarity_boost": number(None, 0.75, 0, 1),
            "style": number(None, 0, 0, 1),
            "speed": number("speed", 1, 0.7, 1.2),
            "timestamps": _TIMESTAMPS,
            "previous_text": TEXT,
            "next_text": TEXT,
            "language_code": TEXT,
            "apply_text_normalization": _NORMALIZATION,
        },
    ),
    Model(
        provider="fal", name="fal-ai/elevenlabs/tts/eleven-v3", kind="audio", output="audio", also=("timestamps",),
        file_format="mp3", rates=(Rate(unit="1000 characters", nano_usd=100_000_000),),
        fields={
            "text": _text(5_000),
            "voice": _VOICE,
            "stability": number(None, 0.5, 0, 1),
            "timestamps": _TIMESTAMPS,
            "language_code": TEXT,
            "apply_text_normalization": _NORMALIZATION,
        },
    ),
    Model(
        provider="fal", name="fal-ai/minimax/speech-2.8-hd", kind="audio", output="audio", also=("duration_ms",),
        file_format="mp3", rates=(Rate(unit="1000 characters", nano_usd=100_000_000),),
        fields={
            "prompt": _text(10_000),
            "voice_setting": Field(
                kind="object",
                parts={
                    "voice_id": Field(kind="string", role="voice", default="Wise_Woman"),
                    "speed": number("speed", 1, 0.5, 2),
                    "vol": number(None, 1, 0.01, 10),
                    "pitch": Field(kind="integer", minimum=-12, maximum=12),
                },
            ),
            "language_boost": choice(None, _BOOSTS),
            "output_format": choice(None, ("url", "hex"), "hex"),
        },
    ),
    Model(
        provider="fal", name="fal-ai/kokoro/american-english", kind="audio", output="audio", file_format="wav",
        rates=(Rate(unit="1000 characters", nano_usd=20_000_000),),
        fields={
            "prompt": PROMPT,
            "voice": choice("voice", _KOKORO_VOICES, "af_heart"),
            "speed": number("speed", 1, 0.1, 5),
        },
    ),
    Model(
        provider="fal", name="fal-ai/elevenlabs/speech-to-text/scribe-v2", kind="transcript", output="transcript",
        also=_SCRIBE_ALSO, rates=(Rate(unit="minutes", nano_usd=8_000_000),),
        fields=_SCRIBE | {"keyterms": Field(kind="list")},
    ),
    Model(
        provider="fal", name="fal-ai/elevenlabs/speech-to-text", kind="transcript", output="transcript",
        also=_SCRIBE_ALSO, rates=(Rate(unit="minutes", nano_usd=30_000_000),), fields=_SCRIBE,
    ),
    Model(
        provider="fal", name="xai/speech-to-text/v1", kind="transcript", output="transcript", also=("duration",),
        rates=(Rate(unit="minutes", nano_usd=1_667_000),),
        fields={
            "audio_url": url("audio"),
            "language": choice(None, _GROK_LANGUAGES, "auto"),
            "diarize": FLAG,
            "format": FLAG,
        },
    ),
)  # fmt: skip
