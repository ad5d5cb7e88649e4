/**
 * @import {Accepted, AudioOrder, CallOptions, Cancelled, Execution, ExecutionDocument,
 *   ImageOrder, KeyedOptions, OrderOptions, Plan, Quote, Result, Retried, Schemas, StoredFile,
 *   TranscriptOrder, VideoOrder} from "./shapes.js"
 * @import {Settings} from "./transport.js"
 * @import {WaitOptions} from "./waiting.js"
 */
/** @typedef {Plan | {toPlan(): object}} PlanLike */
/** @typedef {{values?: Record<string, unknown> | undefined}} Values */
/** @typedef {KeyedOptions & {acceptPossibleDoubleCost?: boolean, maxCost?: string}} RetryOptions */
/**
 * limit: of each page.
 *
 * @typedef {object} ListFilters
 * @property {Schemas["ExecutionStatus"] | Schemas["ExecutionStatus"][]} [status]
 * @property {string} [type]
 * @property {string} [metadataKey]
 * @property {string} [metadataValue]
 * @property {Date | string} [createdAfter]
 * @property {Date | string} [createdBefore]
 * @property {number} [limit]
 */
/** The methods of an execution. Its other members are those of the service's answer. */
export class Handle {
    /**
     * @param {Executions} executions
     * @param {string} id
     */
    constructor(executions: Executions, id: string);
    id: string;
    /**
     * Return the execution as it is now.
     *
     * @param {CallOptions} [options]
     */
    refresh(options?: CallOptions): Promise<Execution>;
    /**
     * Wait for the end, and return the execution.
     *
     * @param {WaitOptions} [options]
     */
    wait(options?: WaitOptions): Promise<Execution>;
    /**
     * Iterate over the changes of the execution until it ends; see `executions.events`.
     *
     * @param {CallOptions & {after?: number}} [options]
     */
    events(options?: CallOptions & {
        after?: number;
    }): AsyncGenerator<import("./shapes.js").ExecutionEvent, void, any>;
    /**
     * Stop buying, and cancel the jobs that run at providers. Repeating is safe.
     *
     * @param {CallOptions} [options]
     */
    cancel(options?: CallOptions): Promise<{
        executionId: string;
        final: boolean;
        released: string;
        spent: string;
        status: import("../types/schema.js").components["schemas"]["ExecutionStatus"];
    }>;
    /**
     * Run a failed or cancelled execution again; what is paid for is kept.
     *
     * @param {RetryOptions} [options]
     */
    retry(options?: RetryOptions): Promise<Retried>;
    /**
     * Return the content of a file of the result, by default the first; or, with a path, store it
     * there, which needs Node. The checksum of the content is right.
     *
     * @overload
     * @param {CallOptions & {path: string, file?: StoredFile | undefined}} options
     * @returns {Promise<string>}
     */
    download(options: CallOptions & {
        path: string;
        file?: StoredFile | undefined;
    }): Promise<string>;
    /**
     * @overload
     * @param {CallOptions & {file?: StoredFile | undefined}} [options]
     * @returns {Promise<Uint8Array<ArrayBuffer>>}
     */
    download(options?: (CallOptions & {
        file?: StoredFile | undefined;
    }) | undefined): Promise<Uint8Array<ArrayBuffer>>;
    #private;
}
/** Orders return at once. Each is sent with an idempotency key, so that it is paid once. */
export class Executions {
    /** @param {Settings} settings */
    constructor(settings: Settings);
    /**
     * Create a video from a prompt, by way of a picture unless an input replaces it.
     *
     * @param {VideoOrder} order
     * @param {KeyedOptions} [options]
     * @returns {Promise<Accepted>}
     */
    generateVideo(order: VideoOrder, options?: KeyedOptions): Promise<Accepted>;
    /**
     * Create an image.
     *
     * @param {ImageOrder} order
     * @param {KeyedOptions} [options]
     * @returns {Promise<Accepted>}
     */
    generateImage(order: ImageOrder, options?: KeyedOptions): Promise<Accepted>;
    /**
     * Create speech.
     *
     * @param {AudioOrder} order
     * @param {KeyedOptions} [options]
     * @returns {Promise<Accepted>}
     */
    generateAudio(order: AudioOrder, options?: KeyedOptions): Promise<Accepted>;
    /**
     * Transcribe sound, also that of a video.
     *
     * @param {TranscriptOrder} order
     * @param {KeyedOptions} [options]
     * @returns {Promise<Accepted>}
     */
    transcribe(order: TranscriptOrder, options?: KeyedOptions): Promise<Accepted>;
    /**
     * Execute a plan: JSON, or a composition. values: of its variables.
     *
     * @param {PlanLike} plan
     * @param {OrderOptions & Values & KeyedOptions} [options]
     * @returns {Promise<Accepted>}
     */
    create(plan: PlanLike, { signal, idempotencyKey, ...order }?: OrderOptions & Values & KeyedOptions): Promise<Accepted>;
    /**
     * Return an execution.
     *
     * @param {string} id
     * @param {CallOptions} [options]
     */
    get(id: string, { signal }?: CallOptions): Promise<Execution>;
    /**
     * Iterate over the executions of the account, newest first.
     *
     * @param {ListFilters & CallOptions} [filters]
     * @returns {AsyncGenerator<Execution, void>}
     */
    list({ signal, ...filters }?: ListFilters & CallOptions): AsyncGenerator<Execution, void>;
    /**
     * Stop buying, and cancel the jobs that run at providers. Repeating is safe.
     *
     * @param {string} id
     * @param {CallOptions} [options]
     * @returns {Promise<Cancelled>}
     */
    cancel(id: string, { signal }?: CallOptions): Promise<Cancelled>;
    /**
     * Run a failed or cancelled execution again; what is paid for is kept. maxCost: of the steps that
     * are bought again.
     *
     * @param {string} id
     * @param {RetryOptions} [options]
     * @returns {Promise<Retried>}
     */
    retry(id: string, { acceptPossibleDoubleCost, maxCost, ...options }?: RetryOptions): Promise<Retried>;
    /**
     * Iterate over the changes of an execution until it ends, `end` being the last one.
     *
     * The first event is a `snapshot`. after: the sequence of the last known event; then the changes
     * behind it come first. Lost connections are opened again and lose no event. Throw CallError if
     * the service refuses, or is unreachable for five minutes.
     *
     * @param {string} id
     * @param {CallOptions & {after?: number}} [options]
     */
    events(id: string, options?: CallOptions & {
        after?: number;
    }): AsyncGenerator<import("./shapes.js").ExecutionEvent, void, any>;
    /**
     * Wait for the end of an execution, and return it. The wait follows the stream of events, and
     * reads the execution from time to time where it cannot.
     *
     * @param {string} id
     * @param {WaitOptions} [options]
     */
    wait(id: string, options?: WaitOptions): Promise<Execution>;
    /**
     * Return the content of a stored file; or, with a path, store it there, which needs Node.
     *
     * @param {{id: string, sha256: string}} file
     * @param {CallOptions & {path?: string}} [options]
     * @returns {Promise<any>}
     */
    download(file: {
        id: string;
        sha256: string;
    }, { path, ...options }?: CallOptions & {
        path?: string;
    }): Promise<any>;
    /**
     * Return the execution of a document, with methods.
     *
     * @param {ExecutionDocument} document
     * @returns {Execution}
     */
    open(document: ExecutionDocument): Execution;
    #private;
}
/** Prices of orders before they are made. Nothing is started or held. */
export class Quotes {
    /** @param {Settings} settings */
    constructor(settings: Settings);
    /**
     * Return what `executions.generateVideo` would hold.
     *
     * @param {VideoOrder} order
     * @param {CallOptions} [options]
     */
    video(order: VideoOrder, options?: CallOptions): Promise<{
        currency?: "USD";
        etaSeconds: number;
        expected: string;
        jobs: import("../types/schema.js").components["schemas"]["QuotedJob"][];
        low: string;
        warnings?: import("../types/schema.js").components["schemas"]["QuoteWarning"][];
        worst: string;
    }>;
    /**
     * Return what `executions.generateImage` would hold.
     *
     * @param {ImageOrder} order
     * @param {CallOptions} [options]
     */
    image(order: ImageOrder, options?: CallOptions): Promise<{
        currency?: "USD";
        etaSeconds: number;
        expected: string;
        jobs: import("../types/schema.js").components["schemas"]["QuotedJob"][];
        low: string;
        warnings?: import("../types/schema.js").components["schemas"]["QuoteWarning"][];
        worst: string;
    }>;
    /**
     * Return what `executions.generateAudio` would hold.
     *
     * @param {AudioOrder} order
     * @param {CallOptions} [options]
     */
    audio(order: AudioOrder, options?: CallOptions): Promise<{
        currency?: "USD";
        etaSeconds: number;
        expected: string;
        jobs: import("../types/schema.js").components["schemas"]["QuotedJob"][];
        low: string;
        warnings?: import("../types/schema.js").components["schemas"]["QuoteWarning"][];
        worst: string;
    }>;
    /**
     * Return what `executions.transcribe` would hold.
     *
     * @param {TranscriptOrder} order
     * @param {CallOptions} [options]
     */
    transcript(order: TranscriptOrder, options?: CallOptions): Promise<{
        currency?: "USD";
        etaSeconds: number;
        expected: string;
        jobs: import("../types/schema.js").components["schemas"]["QuotedJob"][];
        low: string;
        warnings?: import("../types/schema.js").components["schemas"]["QuoteWarning"][];
        worst: string;
    }>;
    /**
     * Return what `executions.create` would hold; every error of the plan is thrown.
     *
     * @param {PlanLike} plan
     * @param {OrderOptions & Values & CallOptions} [options]
     */
    plan(plan: PlanLike, { signal, ...order }?: OrderOptions & Values & CallOptions): Promise<{
        currency?: "USD";
        etaSeconds: number;
        expected: string;
        jobs: import("../types/schema.js").components["schemas"]["QuotedJob"][];
        low: string;
        warnings?: import("../types/schema.js").components["schemas"]["QuoteWarning"][];
        worst: string;
    }>;
    #private;
}
export type PlanLike = Plan | {
    toPlan(): object;
};
export type Values = {
    values?: Record<string, unknown> | undefined;
};
export type RetryOptions = KeyedOptions & {
    acceptPossibleDoubleCost?: boolean;
    maxCost?: string;
};
/**
 * limit: of each page.
 */
export type ListFilters = {
    status?: "failed" | "completed" | "running" | "queued" | "cancelled" | ("failed" | "completed" | "running" | "queued" | "cancelled")[] | undefined;
    type?: string | undefined;
    metadataKey?: string | undefined;
    metadataValue?: string | undefined;
    createdAfter?: string | Date | undefined;
    createdBefore?: string | Date | undefined;
    limit?: number | undefined;
};
import type { CallOptions } from "./shapes.js";
import type { Execution } from "./shapes.js";
import type { WaitOptions } from "./waiting.js";
import type { Retried } from "./shapes.js";
import type { StoredFile } from "./shapes.js";
import type { VideoOrder } from "./shapes.js";
import type { KeyedOptions } from "./shapes.js";
import type { Accepted } from "./shapes.js";
import type { ImageOrder } from "./shapes.js";
import type { AudioOrder } from "./shapes.js";
import type { TranscriptOrder } from "./shapes.js";
import type { OrderOptions } from "./shapes.js";
import type { Cancelled } from "./shapes.js";
import type { ExecutionDocument } from "./shapes.js";
import type { Settings } from "./transport.js";
import type { Plan } from "./shapes.js";
