// Run by tests/end_to_end/test_typescript_client.py with the settings of a running stack.
import assert from "node:assert/strict";
import { createServer, request as forward } from "node:http";
import { test } from "node:test";

import {
  ConnectError,
  ExecutionFailedError,
  MaxCostError,
  NotFoundError,
  Takeone,
  compose,
  generateVideo,
  videoModel,
} from "takeone";

const { TAKEONE_BASE_URL: url = "", WEBHOOK = "" } = process.env;
const client = new Takeone();
const clip = { prompt: "a kite", duration: 2, resolution: "480p" };

test("lost answers keep their key and buy one image", async () => {
  const keys = [];
  let lost = 2;
  const server = createServer((incoming, outgoing) => {
    keys.push(incoming.headers["idempotency-key"]);
    const options = { method: incoming.method, headers: incoming.headers };
    const passed = forward(new URL(incoming.url ?? "", url), options, (answer) => {
      if (lost-- > 0) answer.resume().on("end", () => outgoing.destroy());
      else answer.pipe(outgoing.writeHead(answer.statusCode ?? 500, answer.headers));
    });
    incoming.pipe(passed);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const proxy = new Takeone({ baseUrl: `http://127.0.0.1:${server.address().port}` });
  const order = await proxy.executions.generateImage({ prompt: "a kite" });
  server.close();
  server.closeAllConnections();
  assert.equal(order.replayed, true);
  assert.equal(keys.length, 3);
  assert.equal(new Set(keys).size, 1);
  const done = await client.executions.wait(order.id, { timeoutSeconds: 200 });
  const content = await done.download();
  assert.equal(content.length, done.result.assets[0].sizeBytes);
});

test("seed example is composed, followed, cancelled and retried", async () => {
  const duration = undefined;
  const order = await compose(
    generateVideo({
      model: videoModel("bytedance/seedance-1-pro", "replicate"),
      prompt: "a kite",
      duration: duration || 5,
    }),
  ).execute({ webhook: WEBHOOK });
  await order.cancel();
  await assert.rejects(order.wait({ timeoutSeconds: 200 }), (error) => {
    assert.ok(error instanceof ExecutionFailedError);
    return error.code === "cancelled" && /^\d+(\.\d+)?$/.test(error.spent);
  });
  const kinds = [];
  let last;
  for await (const event of order.events()) {
    kinds.push(event.type);
    last = event;
  }
  assert.deepEqual([kinds[0], last.type, last.data.status], ["snapshot", kinds.at(-1), "cancelled"]);
  const rest = [];
  for await (const event of order.events({ after: last.sequence })) rest.push(event);
  assert.deepEqual(rest, []);
  const retried = await order.retry();
  assert.equal(retried.generation, 2);
  await retried.cancel();
});

test("refusals are errors with code, money and request id", async () => {
  const refused = client.executions.generateVideo({ ...clip, maxCost: "0.0001" });
  await assert.rejects(refused, (error) => {
    assert.ok(error instanceof MaxCostError);
    assert.deepEqual([error.status, error.code, error.retryable], [402, "max_cost_exceeded", false]);
    return error.spent === "0" && !!error.requestId && !!error.idempotencyKey;
  });
  await assert.rejects(client.executions.get("exec_unknown"), NotFoundError);
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  const nowhere = new Takeone({ baseUrl: `http://127.0.0.1:${port}`, retries: 0 });
  await assert.rejects(nowhere.executions.get("exec_unknown"), ConnectError);
});
