"""What fal's models have in common: how long jobs run, and how long their files are served."""

from functools import partial
from typing import Final

from core.providers.entries import offered_model

_SERVED_SECONDS: Final = 7 * 86_400
"""By fal's page on media expiration, read on 2026-11-22: at least 7 days, unless the account's
settings or a header of the request, which this service does not send, ask for less.
"""
PAGE: Final = "the model's page at fal.ai"
READ_ON: Final = "2026-11-29"
"""When the pages of the models were read, unless an entry has a day of its own."""

quick_model: Final = partial(offered_model, served_seconds=_SERVED_SECONDS, quick=True)
long_model: Final = partial(offered_model, served_seconds=_SERVED_SECONDS, quick=False)
