"""Replicate's models of speech: spoken texts, lip-sync and talking heads."""

from sandbox.models.common import FLAG, TEXT, choice, number, url
from sandbox.models.fields import Field
from sandbox.models.model import Model
from sandbox.models.prices import Rate

_FIT = choice("fit", ("loop", "bounce", "cut_off", "silence", "remap"), "loop")

MODELS = (
    Model(
        provider="replicate", name="minimax/speech-2.6-turbo", kind="audio", output="audio", file_format="mp3",
        rates=(Rate(unit="1000 characters", nano_usd=60_000_000),),
        fields={
            "text": Field(kind="string", role="prompt", required=True, max_length=10_000),
            "voice_id": Field(kind="string", role="voice", default="Wise_Woman"),
            "speed": number("speed", 1, 0.5, 2),
            "volume": number(None, 1, 0, 10),
            "pitch": Field(kind="integer", minimum=-12, maximum=12),
            "audio_format": choice("format", ("mp3", "wav"), "mp3"),
            "sample_rate": choice(None, (8000, 16000, 22050, 24000, 32000, 44100), 32000),
            "channel": choice(None, ("mono", "stereo"), "mono"),
            "language_boost": TEXT,
            "emotion": TEXT,
        },
    ),
    Model(
        provider="replicate", name="elevenlabs/v3", kind="audio", output="audio", file_format="mp3",
        rates=(Rate(unit="1000 characters", nano_usd=100_000_000),),
        fields={
            "prompt": Field(kind="string", role="prompt", required=True),
            "voice": Field(kind="string", role="voice", default="Rachel"),
            "stability": number(None, 0.5, 0, 1),
            "similarity_boost": number(None, 0.75, 0, 1),
            "style": number(None, 0, 0, 1),
            "speed": number("speed", 1, 0.7, 1.2),
            "language_code": TEXT,
        },
    ),
    Model(
        provider="replicate", name="kwaivgi/kling-lip-sync", kind="lip-sync", output="video", file_format="mp4",
        rates=(Rate(unit="seconds", nano_usd=14_000_000),),
        fields={"video_url": url("video", seconds=(2, 10)), "audio_file": url("audio")},
    ),
    Model(
        provider="replicate", name="sync/lipsync-2-pro", kind="lip-sync", output="video", file_format="mp4",
        rates=(Rate(unit="seconds", nano_usd=83_250_000),),
        fields={
            "video": url("video"),
            "audio": url("audio"),
            "sync_mode": _FIT,
            "temperature": number(None, 0.5, 0, 1),
            "active_speaker": FLAG,
        },
    ),
    Model(
        provider="replicate", name="kwaivgi/kling-avatar-v2", kind="talking-head", output="video",
        file_format="mp4",
        rates=(
            Rate(unit="seconds", nano_usd=110_000_000, when={"resolution": "pro"}),
            Rate(unit="seconds", nano_usd=56_000_000),
        ),
        fields={
            "image": url("image"),
            "audio": url("audio"),
            "prompt": Field(kind="string", role="prompt"),
            "mode": choice("resolution", ("std", "pro"), "std"),
        },
    ),
)  # fmt: skip
