/** Takeone: prompt in, finished video out, every step paid for once. */

export {
  captions,
  generateAudio,
  generateImage,
  generateVideo,
  layers,
  lipSync,
  merge,
  poster,
  reframe,
  removeBackground,
  step,
  talkingHead,
  transcribe,
} from "./builders.js";
export { Takeone, compose } from "./client.js";
export { Composition } from "./composition.js";
export * from "./errors.js";
export { Handle } from "./executions.js";
export * from "./shapes.js";
export { ModelChoice, Output, Step, audioModel, imageModel, optional, videoModel } from "./steps.js";
export { VERSION } from "./transport.js";
export { verifyWebhook } from "./webhooks.js";
