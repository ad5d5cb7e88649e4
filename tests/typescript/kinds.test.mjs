// Run by tests/end_to_end/test_typescript_client.py with the settings of a running stack.
import assert from "node:assert/strict";
import { test } from "node:test";

import {
  Takeone,
  compose,
  generateAudio,
  generateImage,
  generateVideo,
  layers,
  lipSync,
  reframe,
  removeBackground,
  talkingHead,
  transcribe,
} from "takeone";

const client = new Takeone();
const text = "It never asks where the wind comes from.";
const kinds = {
  picture: "image",
  cut: "image",
  voice: "audio",
  words: "transcript",
  clip: "video",
  host: "video",
  film: "video",
  scene: "video",
  tall: "video",
};

function composition() {
  const model = "black-forest-labs/flux-schnell";
  const picture = generateImage({ name: "picture", prompt: "a kite", model });
  const voice = generateAudio({ name: "voice", text, model: "minimax/speech-2.6-turbo" });
  const clip = generateVideo({ name: "clip", prompt: "it dances", model: "wan-video/wan-2.2-t2v-fast" });
  const scribe = "fal-ai/elevenlabs/speech-to-text/scribe-v2";
  const words = transcribe({ name: "words", source: voice, model: scribe });
  const bria = "fal-ai/bria/background/remove";
  const cut = removeBackground({ name: "cut", source: picture, model: bria });
  const fabric = "veed/fabric-1.0";
  const host = talkingHead({ name: "host", image: picture, audio: voice, model: fabric });
  const sync = "fal-ai/sync-lipsync/v2";
  const film = lipSync({ name: "film", source: clip, audio: voice, model: sync });
  const scene = layers([film, { media: cut, placement: "w-1/4 bottom-right" }], { name: "scene" });
  const tall = reframe({ name: "tall", source: scene, aspectRatio: "9:16" });
  return compose(words, host, tall);
}

test("each builder makes a step that the service executes", async () => {
  const film = composition();
  const { worst } = await film.quote();
  const order = await film.execute({ maxCost: worst });
  const done = await order.wait({ timeoutSeconds: 240 });
  assert.deepEqual(Object.fromEntries(done.jobs.map((job) => [job.step, job.state])), {
    ...Object.fromEntries(Object.keys(kinds).map((step) => [step, "completed"])),
  });
  const assets = done.result.assets.map((asset) => [asset.step, asset.kind]);
  assert.deepEqual(Object.fromEntries(assets), kinds);
  const { width, height } = done.result.assets.find((asset) => asset.step === "tall").media;
  assert.ok(height > width, `${width}x${height}`);
  assert.ok(Number(done.cost.settled) > 0 && Number(done.cost.settled) <= Number(worst));
});

test("a sound is transcribed by an order of its own", async () => {
  const spoken = await client.executions.generateAudio({ text });
  const sound = (await spoken.wait({ timeoutSeconds: 200 })).result.assets[0];
  const order = await client.executions.transcribe({ source: sound });
  const done = await order.wait({ timeoutSeconds: 200 });
  const words = JSON.parse(new TextDecoder().decode(await done.download()));
  assert.deepEqual(words.words.map((word) => word.text), text.split(" "));
});
