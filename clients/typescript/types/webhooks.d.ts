/**
 * An event. The members after `timestamp` are those of types that begin with `execution.`.
 *
 * @typedef {object} WebhookEvent
 * @property {string} id
 * @property {string} type
 * @property {string} timestamp
 * @property {string} [executionId]
 * @property {number} [generation]
 * @property {number} [sequence] The highest is the latest of the execution.
 * @property {Schemas["ExecutionStatus"]} [status]
 * @property {Result | null} [result]
 * @property {Schemas["ErrorBody"] | null} [error]
 * @property {Schemas["Cost"]} [cost]
 * @property {Record<string, unknown>} [metadata]
 */
/**
 * Return the event of a webhook.
 *
 * body: as it arrived. secret: the signing secret; several while one is being replaced. Throw
 * WebhookVerificationError if no secret has signed it, or if it is older than five minutes. A
 * webhook arrives at least once: drop repeats by the event's `id`.
 *
 * @param {string | Uint8Array} body
 * @param {Headers | Record<string, string | string[] | undefined>} headers
 * @param {string | readonly string[]} secret
 * @param {{now?: number}} [options] now: Unix time in seconds
 * @returns {Promise<WebhookEvent>}
 */
export function verifyWebhook(body: string | Uint8Array, headers: Headers | Record<string, string | string[] | undefined>, secret: string | readonly string[], { now }?: {
    now?: number;
}): Promise<WebhookEvent>;
/**
 * An event. The members after `timestamp` are those of types that begin with `execution.`.
 */
export type WebhookEvent = {
    id: string;
    type: string;
    timestamp: string;
    executionId?: string | undefined;
    generation?: number | undefined;
    /**
     * The highest is the latest of the execution.
     */
    sequence?: number | undefined;
    status?: "failed" | "completed" | "running" | "queued" | "cancelled" | undefined;
    result?: Result | null | undefined;
    error?: ({
        code: string;
        message: string;
    } & {
        [key: string]: unknown;
    }) | null | undefined;
    cost?: {
        currency?: "USD";
        estimated: string;
        final: boolean;
        held: string;
        saved: string;
        settled: string;
    } | undefined;
    metadata?: Record<string, unknown> | undefined;
};
import type { Result } from "./shapes.js";
