// Run by tests/end_to_end/test_typescript_client.py, which kills the API meanwhile.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Takeone } from "takeone";

const { TAKEONE_BASE_URL: url, TAKEONE_API_KEY: key, EXECUTION = "" } = process.env;
const client = new Takeone();

test("a killed API loses no event and ends no wait", async () => {
  const events = [];
  const follow = async () => {
    for await (const event of client.executions.events(EXECUTION, { after: 0 })) events.push(event);
  };
  const [done] = await Promise.all([
    client.executions.wait(EXECUTION, { timeoutSeconds: 200 }),
    follow(),
  ]);
  assert.equal(done.status, "completed");
  const headers = { authorization: `Bearer ${key}` };
  const answer = await fetch(`${url}/api/executions/${EXECUTION}/timeline`, { headers });
  const { data } = await answer.json();
  assert.deepEqual(
    events.map((event) => [event.sequence, event.type]),
    data.map((entry) => [entry.sequence, entry.type]),
  );
});
