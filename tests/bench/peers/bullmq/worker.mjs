// Makes videos step by step, with the pattern of BullMQ's guide "Process step jobs": what a step
// made is stored in the job's data, and a job that is processed again continues after it.
import { Worker } from "bullmq";

const connection = { host: "127.0.0.1", port: Number(process.env.REDIS_PORT) };

async function call(url, options = {}) {
  const response = await fetch(url, options);
  if (!response.ok) throw new Error(`${response.status} from ${url}`);
  return response;
}

async function submit({ url, headers, body }) {
  const options = {
    method: "POST",
    headers: { ...headers, "content-type": "application/json" },
    body: JSON.stringify(body),
  };
  const accepted = await (await call(url, options)).json();
  return accepted.response_url ?? accepted.urls.get;
}

async function poll(url, headers, seconds) {
  for (;;) {
    const response = await fetch(url, { headers });
    const answer = await response.json();
    if (answer.images) return answer.images[0].url;
    if (answer.status === "succeeded") return [answer.output].flat()[0];
    if (response.status >= 500 || answer.status === "failed") throw new Error(`no result from ${url}`);
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  }
}

async function store(url, target) {
  const body = Buffer.from(await (await call(url)).arrayBuffer());
  await call(target, { method: "PUT", body });
}

const steps = {
  submitImage: async (order) => ({ imageJob: await submit(order.image) }),
  waitForImage: async (order) => ({
    imageUrl: await poll(order.imageJob, order.image.headers, order.pollSeconds),
  }),
  submitVideo: async (order) => {
    const input = { ...order.video.body.input, image: order.imageUrl };
    return { videoJob: await submit({ ...order.video, body: { input } }) };
  },
  waitForVideo: async (order) => ({
    videoUrl: await poll(order.videoJob, order.video.headers, order.pollSeconds),
  }),
  store: async (order) => {
    await Promise.all([
      store(order.imageUrl, order.imageTarget),
      store(order.videoUrl, order.videoTarget),
    ]);
    return {};
  },
  deliver: async (order) => {
    const body = JSON.stringify({ status: "completed", executionId: order.id });
    const headers = { "content-type": "application/json" };
    await call(order.webhook, { method: "POST", headers, body });
    return {};
  },
};
const names = Object.keys(steps);

const worker = new Worker(
  "videos",
  async (job) => {
    for (let next = job.data.next ?? 0; next < names.length; next++) {
      const made = await steps[names[next]](job.data);
      await job.updateData({ ...job.data, ...made, next: next + 1 });
    }
  },
  { connection, concurrency: Number(process.env.CONCURRENCY) },
);
await worker.waitUntilReady();
process.stdout.write("ready\n");
process.on("SIGTERM", () => worker.close().then(() => process.exit(0)));
