/** The shapes of requests and answers: names for the types that are generated in `types/schema`. */

/**
 * @import {components} from "../types/schema.js"
 * @import {Handle} from "./executions.js"
 */

/** @typedef {components["schemas"]} Schemas */
/** @typedef {Schemas["Asset"]} Asset */
/** @typedef {Schemas["Quote"]} Quote */
/** @typedef {Schemas["Cancelled"]} Cancelled */
/** @typedef {Schemas["PlanBody"]} Plan */
/** @typedef {{id: string, sha256: string}} StoredFile */
/**
 * @typedef {StoredFile & {step: string, kind: string, url: string, contentType: string,
 *   sizeBytes: number, media?: Record<string, unknown> | null}} ResultFile
 */

/**
 * The result of an execution: addresses, and every stored file.
 *
 * @typedef {object} Result
 * @property {string} [url]
 * @property {string} [contentType]
 * @property {string} [videoUrl]
 * @property {string} [imageUrl]
 * @property {string} [audioUrl]
 * @property {string | null} [posterUrl]
 * @property {Record<string, ResultFile>} [outputs]
 * @property {ResultFile[]} [assets]
 */

/** @typedef {Omit<Schemas["Execution"], "result"> & {result: Result | null}} ExecutionDocument */
/** @typedef {ExecutionDocument & Handle} Execution */
/** @typedef {Schemas["Accepted"] & Handle & {replayed: boolean}} Accepted */
/** @typedef {Schemas["Retried"] & Handle & {replayed: boolean}} Retried */

/**
 * A file: an address, an asset, or a file of a result.
 *
 * @typedef {string | StoredFile | Asset | {asset: string} | {url: string}} Media
 */

/**
 * The fields T, where those named F are files.
 *
 * @template T
 * @template {keyof T} F
 * @typedef {Omit<T, F> & {[name in F]?: Media | undefined}} WithFiles
 */

/** @typedef {WithFiles<Schemas["GenerateVideoRequest"], "image" | "endImage" | "audio">} VideoOrder */
/** @typedef {WithFiles<Schemas["GenerateImageRequest"], "image">} ImageOrder */
/** @typedef {Schemas["GenerateAudioRequest"]} AudioOrder */
/** @typedef {Omit<Schemas["TranscribeRequest"], "source"> & {source: Media}} TranscriptOrder */

/**
 * What every order takes. maxCost: US dollars as exact text, retries included.
 *
 * @typedef {object} OrderOptions
 * @property {string} [maxCost]
 * @property {string} [webhook]
 * @property {string} [webhookSecret]
 * @property {Record<string, string | number | boolean>} [metadata]
 */

/**
 * What every call takes. signal: ends the call, and its retries, with the reason of the signal.
 *
 * @typedef {object} CallOptions
 * @property {AbortSignal | undefined} [signal]
 */

/**
 * What every call takes that is paid for once per key. idempotencyKey: made for the call where it
 * is missing.
 *
 * @typedef {CallOptions & {idempotencyKey?: string | undefined}} KeyedOptions
 */

/**
 * A change of an execution. sequence: `events(id, {after: sequence})` continues behind it.
 *
 * @typedef {{type: "snapshot" | "end", sequence: number | null, data: ExecutionDocument}
 *   | {type: "progress", sequence: number | null, data: Record<string, any>}
 *   | {type: "job", sequence: number | null, data: Schemas["Job"]}
 *   | {type: "cost", sequence: number | null, data: Schemas["Cost"]}} ExecutionEvent
 */

export {};
