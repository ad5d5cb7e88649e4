import pytest

from tests.sandbox.process import Sandbox


@pytest.fixture
def quick(sandbox: Sandbox) -> Sandbox:
    """Return the session's sandbox without latencies."""
    sandbox.set(image_seconds=0, video_seconds=0, queue_seconds=0)
    return sandbox
