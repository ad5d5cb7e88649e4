// Accepts orders over HTTP and adds them to the queue: POST /orders, GET /health.
import { createServer } from "node:http";
import { Queue } from "bullmq";

const connection = { host: "127.0.0.1", port: Number(process.env.REDIS_PORT) };
const videos = new Queue("videos", { connection });

const server = createServer(async (request, response) => {
  if (request.method !== "POST") return response.writeHead(200).end();
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const order = JSON.parse(Buffer.concat(chunks).toString());
  await videos.add("video", order, {
    jobId: order.id,
    attempts: 3,
    backoff: { type: "exponential", delay: 1000 },
  });
  response.writeHead(202).end();
});
server.listen(Number(process.env.PORT), "127.0.0.1");
