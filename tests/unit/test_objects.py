from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from store.objects import new_object_key


def test_new_object_key_is_dated_and_never_the_same() -> None:
    keys = {new_object_key("exec_1", "mp4") for _ in range(1000)}
    assert len(keys) == 1000
    pattern = re.compile(rf"exec_1/{datetime.now(UTC):%Y/%m}/\d\d/[0-9a-f]{{40}}\.mp4")
    assert all(pattern.fullmatch(key) for key in keys)
    for extension in ("", ".mp4", "a/b", "mp4\n", "MP4"):
        with pytest.raises(ValueError, match="extension"):
            new_object_key("exec_1", extension)
