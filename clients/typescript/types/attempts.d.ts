/**
 * Send a call until it succeeds or is refused, and return what `read` makes of its answer.
 *
 * @template T
 * @param {Settings} settings
 * @param {Call} call
 * @param {(response: Response, exchange: Exchange) => Promise<T>} read
 * @returns {Promise<T>}
 */
export function send<T>(settings: Settings, call: Call, read: (response: Response, exchange: Exchange) => Promise<T>): Promise<T>;
/**
 * Send a call, and return the JSON of its answer. An order that was accepted before has `replayed`.
 *
 * @param {Settings} settings
 * @param {Call} call
 * @returns {Promise<any>}
 */
export function sendJson(settings: Settings, call: Call): Promise<any>;
/**
 * Return the query of a path: without what is undefined or null, lists repeated, times in ISO 8601.
 *
 * @param {Record<string, unknown>} [query]
 */
export function queryText(query?: Record<string, unknown>): string;
/**
 * One call. body: JSON. form: a file to upload, in place of body. repeat: whether a call whose
 * answer was lost may be sent again: `keyed`, with the same idempotency key; `safe`, because its
 * effect is the same; `never`, because it would have its effect twice.
 *
 * @typedef {object} Call
 * @property {string} method
 * @property {string} path
 * @property {Record<string, unknown> | undefined} [query]
 * @property {unknown} [body]
 * @property {FormData} [form]
 * @property {"keyed" | "safe" | "never"} [repeat]
 * @property {string | undefined} [idempotencyKey]
 * @property {AbortSignal | undefined} [signal]
 */
/** What follows from the failures of one call. */
export class Attempts {
    /**
     * @param {Call} call
     * @param {number} retries
     */
    constructor(call: Call, retries: number);
    /** Made once, outside of the attempts. */
    key: string | undefined;
    /**
     * Return the seconds until the next attempt, or throw the failure of this one.
     *
     * @param {unknown} failure
     * @returns {number}
     */
    failed(failure: unknown): number;
    #private;
}
/**
 * One call. body: JSON. form: a file to upload, in place of body. repeat: whether a call whose
 * answer was lost may be sent again: `keyed`, with the same idempotency key; `safe`, because its
 * effect is the same; `never`, because it would have its effect twice.
 */
export type Call = {
    method: string;
    path: string;
    query?: Record<string, unknown> | undefined;
    body?: unknown;
    form?: FormData | undefined;
    repeat?: "never" | "keyed" | "safe" | undefined;
    idempotencyKey?: string | undefined;
    signal?: AbortSignal | undefined;
};
import type { Settings } from "./transport.js";
import { Exchange } from "./transport.js";
