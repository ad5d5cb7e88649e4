"""fal's models that change a file: cutouts, lip-sync, talking heads and upscaling."""

from sandbox.models.common import FLAG, SEED, choice, number, url
from sandbox.models.fields import Field
from sandbox.models.model import Model
from sandbox.models.prices import Rate

_BRIA_COLOURS = (
    "Transparent", "Black", "White", "Gray", "Red", "Green", "Blue", "Yellow", "Cyan", "Magenta", "Orange",
)  # fmt: skip
_PIXELCUT_COLOURS = ("transparent", "black", "white", "green", "blue", "magenta")
_CODECS = ("webm_vp9", "mp4_h264")
_FIT = choice("fit", ("cut_off", "loop", "bounce", "silence", "remap"), "cut_off")
_AVATAR = {
    "image_url": url("image"),
    "audio_url": url("audio", seconds=(2, 60)),
    "prompt": Field(kind="string", role="prompt"),
}

MODELS = (
    Model(
        provider="fal", name="fal-ai/bria/background/remove", kind="cutout", output="image",
        rates=(Rate(unit="generations", nano_usd=18_000_000),),
        fields={"image_url": url("image"), "sync_mode": FLAG},
    ),
    Model(
        provider="fal", name="pixelcut/background-removal", kind="cutout", output="image",
        rates=(Rate(unit="images", nano_usd=16_000_000),),
        fields={
            "image_url": url("image"),
            "output_format": choice(None, ("rgba", "alpha", "zip"), "rgba"),
            "sync_mode": FLAG,
        },
    ),
    Model(
        provider="fal", name="pixelcut/video-background-removal", kind="cutout", output="video",
        file_format="webm", rates=(Rate(unit="30 frames", nano_usd=22_000_000),),
        fields={
            "video_url": url("video"),
            "background": choice("background", _PIXELCUT_COLOURS, "transparent"),
            "output_format": choice("format", _CODECS),
        },
    ),
    Model(
        provider="fal", name="bria/video/background-removal/v3", kind="cutout", output="video",
        also=("request_id",), file_format="webm", rates=(Rate(unit="seconds", nano_usd=50_000_000),),
        fields={
            "video_url": url("video"),
            "background_color": choice("background", _BRIA_COLOURS, "Black"),
            "output_container_and_codec": choice("format", _CODECS, "webm_vp9"),
            "preserve_audio": FLAG,
            "auto_zoom": FLAG,
        },
    ),
    Model(
        provider="fal", name="fal-ai/sync-lipsync/v2", kind="lip-sync", output="video", file_format="mp4",
        rates=(Rate(unit="seconds", nano_usd=50_000_000),),
        fields={
            "video_url": url("video"),
            "audio_url": url("audio"),
            "model": choice(None, ("lipsync-2",), "lipsync-2"),  # the pro model has another price
            "sync_mode": _FIT,
        },
    ),
    Model(
        provider="fal", name="veed/lipsync", kind="lip-sync", output="video", file_format="mp4",
        rates=(Rate(unit="minutes", nano_usd=400_000_000),),
        fields={"video_url": url("video"), "audio_url": url("audio")},
    ),
    Model(
        provider="fal", name="veed/fabric-1.0", kind="talking-head", output="video", file_format="mp4",
        rates=(
            Rate(unit="seconds", nano_usd=80_000_000, when={"resolution": "480p"}),
            Rate(unit="seconds", nano_usd=150_000_000),
        ),
        fields={
            "image_url": url("image"),
            "audio_url": url("audio"),
            "resolution": choice("resolution", ("720p", "480p"), required=True),
        },
    ),
    Model(
        provider="fal", name="fal-ai/kling-video/ai-avatar/v2/pro", kind="talking-head", output="video",
        also=("duration",), file_format="mp4", resolution="1080p",
        rates=(Rate(unit="seconds", nano_usd=115_000_000),), fields=_AVATAR,
    ),
    Model(
        provider="fal", name="fal-ai/kling-video/ai-avatar/v2/standard", kind="talking-head", output="video",
        also=("duration",), file_format="mp4", rates=(Rate(unit="seconds", nano_usd=56_200_000),), fields=_AVATAR,
    ),
    Model(
        provider="fal", name="fal-ai/bytedance/omnihuman/v1.5", kind="talking-head", output="video",
        also=("duration",), file_format="mp4", rates=(Rate(unit="seconds", nano_usd=160_000_000),),
        fields={
            "image_url": url("image"),
            "audio_url": url("audio", seconds=(0, 60)),
            "prompt": Field(kind="string", role="prompt"),
            "resolution": choice("resolution", ("720p", "1080p"), "1080p"),
            "turbo_mode": FLAG,
        },
    ),
    Model(
        provider="fal", name="fal-ai/recraft/upscale/crisp", kind="upscale", output="image", scale=2,
        rates=(Rate(unit="images", nano_usd=4_000_000),),
        fields={"image_url": url("image"), "enable_safety_checker": FLAG, "sync_mode": FLAG},
    ),
    Model(
        provider="fal", name="fal-ai/topaz/upscale/image", kind="upscale", output="image",
        rates=(
            Rate(unit="images", nano_usd=80_000_000, up_to_pixels=24_000_000),
            Rate(unit="images", nano_usd=160_000_000, up_to_pixels=48_000_000),
            Rate(unit="images", nano_usd=320_000_000, up_to_pixels=96_000_000),
            Rate(unit="images", nano_usd=1_360_000_000),
        ),
        fields={
            "image_url": url("image"),
            "upscale_factor": number("scale", 2, 1, 4),
            "model": choice(None, ("Standard V2", "High Fidelity V2", "Low Resolution V2", "CGI", "Text Refine")),
            "output_format": choice("format", ("jpeg", "png"), "jpeg"),
        },
    ),
    Model(
        provider="fal", name="fal-ai/seedvr/upscale/image", kind="upscale", output="image", also=("seed",),
        rates=(Rate(unit="megapixels", nano_usd=1_000_000),),
        fields={
            "image_url": url("image"),
            "upscale_mode": choice(None, ("factor",), "factor"),
            "upscale_factor": number("scale", 2, 1, 10),
            "output_format": choice("format", ("png", "jpg", "webp"), "jpg"),
            "seed": SEED,
            "sync_mode": FLAG,
        },
    ),
    Model(
        provider="fal", name="fal-ai/topaz/upscale/video", kind="upscale", output="video", file_format="mp4",
        rates=(
            Rate(unit="seconds", nano_usd=10_000_000, up_to_lines=720),
            Rate(unit="seconds", nano_usd=20_000_000, up_to_lines=1080),
            Rate(unit="seconds", nano_usd=80_000_000),
        ),
        fields={
            "video_url": url("video"),
            "upscale_factor": number("scale", 2, 1, 4),
            "model": choice(None, ("Proteus", "Artemis HQ", "Artemis MQ", "Artemis LQ"), "Proteus"),
            "H264_output": FLAG,
        },
    ),
)  # fmt: skip
