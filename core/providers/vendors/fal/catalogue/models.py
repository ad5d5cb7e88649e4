"""All models of fal."""

from typing import Final

from core.providers.models import Model
from core.providers.vendors.fal.catalogue.edits import EDIT_MODELS
from core.providers.vendors.fal.catalogue.images import IMAGE_MODELS
from core.providers.vendors.fal.catalogue.sounds import SOUND_MODELS
from core.providers.vendors.fal.catalogue.videos import VIDEO_MODELS

MODELS: Final[tuple[Model, ...]] = (
    *IMAGE_MODELS,
    *VIDEO_MODELS,
    *SOUND_MODELS,
    *EDIT_MODELS,
)
