"""All models of Replicate."""

from typing import Final

from core.providers.models import Model
from core.providers.vendors.replicate.catalogue.images import IMAGE_MODELS
from core.providers.vendors.replicate.catalogue.sounds import SOUND_MODELS
from core.providers.vendors.replicate.catalogue.videos import VIDEO_MODELS

MODELS: Final[tuple[Model, ...]] = (*VIDEO_MODELS, *IMAGE_MODELS, *SOUND_MODELS)
