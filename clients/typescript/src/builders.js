/**
 * Builders of steps. Of paid steps, further members are parameters of the model, as `GET
 * /api/models` has them. Media steps are free of charge.
 */

import { Output, Step } from "./steps.js";
import { isStored } from "./values.js";

/** @import {File, PaidOptions, StepOptions} from "./steps.js" */
/** @import {Schemas} from "./shapes.js" */

/** @typedef {PaidOptions & Record<string, unknown>} Paid */
/** @typedef {File | {media: File, [setting: string]: unknown}} Item */
/**
 * @template {object} T
 * @template {keyof T} F
 * @typedef {Partial<Omit<T, F>> & StepOptions} Settings
 */

const REFERENCES = ["step", "asset", "url", "var"];

/**
 * Return a step of any kind, also of one that this version has no builder for.
 *
 * @param {string} kind
 * @param {Record<string, unknown>} params
 * @param {PaidOptions} [options]
 */
export function step(kind, params, options = {}) {
  return new Step(kind, params, options);
}

/**
 * Divide the members of a builder's argument: the options of the step, and parameters.
 *
 * @param {string} kind
 * @param {Paid} members
 */
function paid(kind, members) {
  const { name, needs, onFailure, deadlineSeconds, model, provider, reuse, count, ...params } =
    members;
  const options = { name, needs, onFailure, deadlineSeconds, model, provider, reuse, count };
  return new Step(kind, params, /** @type {PaidOptions} */ (options));
}

/**
 * Make an image from a prompt, or by editing `image`.
 *
 * @param {{prompt: string, image?: File} & Paid} members
 */
export function generateImage(members) {
  return paid("image", members);
}

/**
 * Make a video from a prompt, or from `image` as its first frame.
 *
 * @param {{prompt: string, image?: File} & Paid} members
 */
export function generateVideo(members) {
  return paid("video", members);
}

/**
 * Speak a text. Models with word times also have the output `words`.
 *
 * @param {{text: string} & Paid} members
 */
export function generateAudio(members) {
  return paid("audio", members);
}

/**
 * Write down the words of a sound, with their times.
 *
 * @param {{source: File} & Paid} members
 */
export function transcribe(members) {
  return paid("transcript", members);
}

/**
 * Remove the background of a picture or video.
 *
 * @param {{source: File} & Paid} members
 */
export function removeBackground(members) {
  return paid("cutout", members);
}

/**
 * Move the lips of a video to a sound.
 *
 * @param {{source: File, audio: File} & Paid} members
 */
export function lipSync(members) {
  return paid("lip-sync", members);
}

/**
 * Make a portrait speak a sound.
 *
 * @param {{image: File, audio: File} & Paid} members
 */
export function talkingHead(members) {
  return paid("talking-head", members);
}

/**
 * Join clips and pictures, with transitions, and mix sounds under them.
 *
 * @param {readonly Item[]} items files, or objects such as `{media: voice, offset: 0.5}`
 * @param {Settings<Schemas["MergeParameters"], "items">} [settings]
 */
export function merge(items, settings = {}) {
  return paid("merge", { items: items.map(asItem), .../** @type {Paid} */ (settings) });
}

/**
 * Draw layers from the lowest to the highest on one canvas.
 *
 * @param {readonly Item[]} items files, or objects such as
 *   `{media: host, placement: "w-1/4 bottom-right"}`
 * @param {Settings<Schemas["LayersParameters"], "items">} [settings]
 */
export function layers(items, settings = {}) {
  return paid("layers", { items: items.map(asItem), .../** @type {Paid} */ (settings) });
}

/**
 * Show words while they are spoken. The outputs `srt` and `vtt` are text files.
 *
 * words: a transcript, speech with word times, or a list. style: settings, or a preset's name.
 *
 * @param {{video: File, words: File | Schemas["CaptionWord"][],
 *   style?: string | Schemas["CaptionStyle"]}
 *   & Settings<Schemas["CaptionsParameters"], "video" | "words" | "style">} members
 */
export function captions({ words, style, ...members }) {
  const speech = words instanceof Step && words.kind === "audio";
  return paid("captions", {
    ...members,
    words: speech ? words.output("words") : words,
    style: typeof style === "string" ? { preset: style } : style,
  });
}

/**
 * Change the shape of a film or a picture.
 *
 * @param {{source: File, aspectRatio: string}
 *   & Settings<Schemas["ReframeParameters"], "source" | "aspectRatio">} members
 */
export function reframe(members) {
  return paid("reframe", /** @type {Paid} */ (members));
}

/**
 * Take a frame of a video. at: in seconds, or `best`.
 *
 * @param {{source: File} & Settings<Schemas["PosterParameters"], "source">} members
 */
export function poster(members) {
  return paid("poster", /** @type {Paid} */ (members));
}

/** @param {Item} item */
function asItem(item) {
  const plain =
    typeof item === "object" && !(item instanceof Step || item instanceof Output || isStored(item));
  return plain && !REFERENCES.some((name) => name in item) ? item : { media: item };
}
