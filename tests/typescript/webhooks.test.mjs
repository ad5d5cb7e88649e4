// Run by tests/sdk/test_typescript_client.py with the vectors of tests/sdk/webhook_vectors.py.
import assert from "node:assert/strict";
import { test } from "node:test";

import { WebhookVerificationError, verifyWebhook } from "takeone";

const vectors = JSON.parse(process.env.VECTORS ?? "");

for (const { name, body, headers, secrets, now, refused } of vectors) {
  test(name, async () => {
    const content = new TextEncoder().encode(body);
    if (refused === null) {
      for (const each of [headers, new Headers(headers)]) {
        assert.equal((await verifyWebhook(content, each, secrets, { now })).id, "evt_1");
      }
      return;
    }
    await assert.rejects(verifyWebhook(content, headers, secrets, { now }), (error) => {
      assert.ok(error instanceof WebhookVerificationError, String(error));
      assert.ok(error.message.includes(refused), error.message);
      return true;
    });
  });
}
