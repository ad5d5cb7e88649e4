export { Composition } from "./composition.js";
export * from "./errors.js";
export * from "./shapes.js";
export { Handle } from "./executions.js";
export { VERSION } from "./transport.js";
export { verifyWebhook } from "./webhooks.js";
export { captions, generateAudio, generateImage, generateVideo, layers, lipSync, merge, poster, reframe, removeBackground, step, talkingHead, transcribe } from "./builders.js";
export { Takeone, compose } from "./client.js";
export { ModelChoice, Output, Step, audioModel, imageModel, optional, videoModel } from "./steps.js";
