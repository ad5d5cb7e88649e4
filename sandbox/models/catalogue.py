"""All offered models."""

from sandbox.models.fal import audio as fal_audio
from sandbox.models.fal import image as fal_image
from sandbox.models.fal import media as fal_media
from sandbox.models.fal import video as fal_video
from sandbox.models.model import Model, Provider
from sandbox.models.replicate import image as replicate_image
from sandbox.models.replicate import speech as replicate_speech
from sandbox.models.replicate import video as replicate_video

MODELS: tuple[Model, ...] = (
    *fal_image.MODELS,
    *fal_video.MODELS,
    *fal_audio.MODELS,
    *fal_media.MODELS,
    *replicate_image.MODELS,
    *replicate_video.MODELS,
    *replicate_speech.MODELS,
)
_BY_NAME = {(model.provider, model.name): model for model in MODELS}


def find_model(provider: Provider, name: str) -> Model | None:
    return _BY_NAME.get((provider, name))
