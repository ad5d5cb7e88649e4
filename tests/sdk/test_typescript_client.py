"""The TypeScript client without a stack: webhooks, and streams that are cut or refused."""

from pathlib import Path

from tests.sdk import webhook_vectors
from tests.support.node import needs_node, run_tests

pytestmark = needs_node


async def test_vectors_of_all_clients_are_verified_by_typescript(tmp_path: Path) -> None:
    vectors = webhook_vectors.as_json()
    passed = await run_tests(tmp_path, "webhooks.test.mjs", VECTORS=vectors)
    assert passed == len(webhook_vectors.VECTORS)
