// Run by tests/end_to_end/test_typescript_client.py with the settings of a running stack.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Takeone } from "takeone";
import { proxyOf } from "./proxy.mjs";

const { TAKEONE_BASE_URL: url = "" } = process.env;
const client = new Takeone();
const clip = { prompt: "a kite", duration: 2, resolution: "480p" };

/** Pass the first bytes of a stream on, then cut the connection, within an event if possible. */
function cut(outgoing, answer) {
  outgoing.writeHead(answer.statusCode, answer.headers);
  let left = 200;
  answer.on("data", (part) => {
    outgoing.write(part.subarray(0, part.length - 9));
    left -= part.length;
    if (left < 0) setTimeout(() => outgoing.destroy(), 20);
  });
  answer.on("error", () => outgoing.destroy());
  return true;
}

test("streams that are cut continue without a gap or a repetition", async () => {
  const proxy = await proxyOf(url, (outgoing, answer, number) => number <= 3 && cut(outgoing, answer));
  const order = await client.executions.generateVideo(clip);
  const through = new Takeone({ baseUrl: proxy.url });
  const events = [];
  for await (const event of through.executions.events(order.id, { after: 0 })) events.push(event);
  proxy.close();

  const numbers = events.map((event) => event.sequence);
  const expected = events.map((_, index) => index + 1);
  assert.deepEqual(numbers, expected);
  assert.equal(events.at(-1).type, "end");
  assert.equal(events.at(-1).data.status, "completed");
  assert.ok(proxy.streams.length >= 2, `${proxy.streams}`);
});

test("a wait continues over streams that are cut, and reports every progress", async () => {
  const proxy = await proxyOf(url, (outgoing, answer, number) => number <= 3 && cut(outgoing, answer));
  const order = await client.executions.generateVideo(clip);
  const seen = [];
  const done = await new Takeone({ baseUrl: proxy.url }).executions.wait(order.id, {
    timeoutSeconds: 200,
    onProgress: (execution) => seen.push([execution.status, execution.progress]),
  });
  proxy.close();
  assert.equal(done.status, "completed");
  assert.deepEqual(seen.at(-1), ["completed", 100]);
  const shown = seen.map(([, progress]) => progress);
  assert.deepEqual(shown, [...shown].sort((one, other) => one - other));
  assert.ok(proxy.streams.length >= 2, `${proxy.streams}`);
});

const refusals = {
  "answered with 404": (outgoing) => outgoing.writeHead(404).end("no such page"),
  "answered with 429": (outgoing) => {
    const headers = { "content-type": "application/problem+json", "retry-after": "5" };
    outgoing.writeHead(429, headers).end('{"code": "too_many_streams", "retryable": true}');
  },
  "answered with a page": (outgoing) =>
    outgoing.writeHead(200, { "content-type": "text/html" }).end("<p>log in</p>"),
  "closed at once": (outgoing) => outgoing.destroy(),
};

test("a wait looks at the execution where streams are", async (t) => {
  const order = await client.executions.generateVideo(clip);
  const cases = Object.entries(refusals).map(([name, refuse]) =>
    t.test(name, async () => {
      const proxy = await proxyOf(url, (outgoing, answer) => {
        answer.destroy();
        refuse(outgoing);
        return true;
      });
      const through = new Takeone({ baseUrl: proxy.url });
      const done = await through.executions.wait(order.id, { timeoutSeconds: 200 });
      proxy.close();
      assert.equal(done.status, "completed");
      assert.ok(proxy.reads >= 1);
      assert.ok(proxy.streams.length <= 2, `${proxy.streams.length} streams`);
    }),
  );
  await Promise.all(cases);
});
