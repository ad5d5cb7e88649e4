/**
 * Return a step of any kind, also of one that this version has no builder for.
 *
 * @param {string} kind
 * @param {Record<string, unknown>} params
 * @param {PaidOptions} [options]
 */
export function step(kind: string, params: Record<string, unknown>, options?: PaidOptions): Step;
/**
 * Make an image from a prompt, or by editing `image`.
 *
 * @param {{prompt: string, image?: File} & Paid} members
 */
export function generateImage(members: {
    prompt: string;
    image?: File;
} & Paid): Step;
/**
 * Make a video from a prompt, or from `image` as its first frame.
 *
 * @param {{prompt: string, image?: File} & Paid} members
 */
export function generateVideo(members: {
    prompt: string;
    image?: File;
} & Paid): Step;
/**
 * Speak a text. Models with word times also have the output `words`.
 *
 * @param {{text: string} & Paid} members
 */
export function generateAudio(members: {
    text: string;
} & Paid): Step;
/**
 * Write down the words of a sound, with their times.
 *
 * @param {{source: File} & Paid} members
 */
export function transcribe(members: {
    source: File;
} & Paid): Step;
/**
 * Remove the background of a picture or video.
 *
 * @param {{source: File} & Paid} members
 */
export function removeBackground(members: {
    source: File;
} & Paid): Step;
/**
 * Move the lips of a video to a sound.
 *
 * @param {{source: File, audio: File} & Paid} members
 */
export function lipSync(members: {
    source: File;
    audio: File;
} & Paid): Step;
/**
 * Make a portrait speak a sound.
 *
 * @param {{image: File, audio: File} & Paid} members
 */
export function talkingHead(members: {
    image: File;
    audio: File;
} & Paid): Step;
/**
 * Join clips and pictures, with transitions, and mix sounds under them.
 *
 * @param {readonly Item[]} items files, or objects such as `{media: voice, offset: 0.5}`
 * @param {Settings<Schemas["MergeParameters"], "items">} [settings]
 */
export function merge(items: readonly Item[], settings?: Settings<Schemas["MergeParameters"], "items">): Step;
/**
 * Draw layers from the lowest to the highest on one canvas.
 *
 * @param {readonly Item[]} items files, or objects such as
 *   `{media: host, placement: "w-1/4 bottom-right"}`
 * @param {Settings<Schemas["LayersParameters"], "items">} [settings]
 */
export function layers(items: readonly Item[], settings?: Settings<Schemas["LayersParameters"], "items">): Step;
/**
 * Show words while they are spoken. The outputs `srt` and `vtt` are text files.
 *
 * words: a transcript, speech with word times, or a list. style: settings, or a preset's name.
 *
 * @param {{video: File, words: File | Schemas["CaptionWord"][],
 *   style?: string | Schemas["CaptionStyle"]}
 *   & Settings<Schemas["CaptionsParameters"], "video" | "words" | "style">} members
 */
export function captions({ words, style, ...members }: {
    video: File;
    words: File | Schemas["CaptionWord"][];
    style?: string | Schemas["CaptionStyle"];
} & Settings<Schemas["CaptionsParameters"], "video" | "words" | "style">): Step;
/**
 * Change the shape of a film or a picture.
 *
 * @param {{source: File, aspectRatio: string}
 *   & Settings<Schemas["ReframeParameters"], "source" | "aspectRatio">} members
 */
export function reframe(members: {
    source: File;
    aspectRatio: string;
} & Settings<Schemas["ReframeParameters"], "source" | "aspectRatio">): Step;
/**
 * Take a frame of a video. at: in seconds, or `best`.
 *
 * @param {{source: File} & Settings<Schemas["PosterParameters"], "source">} members
 */
export function poster(members: {
    source: File;
} & Settings<Schemas["PosterParameters"], "source">): Step;
export type Paid = PaidOptions & Record<string, unknown>;
export type Item = File | {
    media: File;
    [setting: string]: unknown;
};
export type Settings<T extends object, F extends keyof T> = Partial<Omit<T, F>> & StepOptions;
import type { PaidOptions } from "./steps.js";
import { Step } from "./steps.js";
import type { File } from "./steps.js";
import type { Schemas } from "./shapes.js";
import type { StepOptions } from "./steps.js";
