/**
 * Yield the changes of an execution until it ends, `end` being the last one.
 *
 * @param {Settings} settings
 * @param {string} executionId
 * @param {CallOptions & {after?: number | undefined}} options
 * @returns {AsyncGenerator<ExecutionEvent, void>}
 */
export function follow(settings: Settings, executionId: string, options: CallOptions & {
    after?: number | undefined;
}): AsyncGenerator<ExecutionEvent, void>;
/**
 * @param {ServerEvent} event
 * @returns {ExecutionEvent}
 */
export function executionEvent({ type, data, id }: ServerEvent): ExecutionEvent;
/** How long failures are tolerated. */
export class Patience {
    reached(): void;
    /**
     * Take a failure. Throw it if waiting cannot help, or has not helped for five minutes.
     *
     * @param {unknown} error
     */
    missed(error: unknown): void;
    #private;
}
/** One stream after another. over: the service has nothing more to send. */
export class Following {
    /**
     * @param {Settings} settings
     * @param {string} executionId
     * @param {CallOptions & {after?: number | undefined}} options
     */
    constructor(settings: Settings, executionId: string, { after, signal }: CallOptions & {
        after?: number | undefined;
    });
    over: boolean;
    /**
     * Yield the events of each part of one stream; none for a heartbeat. End with the stream. Throw
     * CallError if it is refused or lost.
     *
     * @returns {AsyncGenerator<ServerEvent[], void>}
     */
    parts(): AsyncGenerator<ServerEvent[], void>;
    /** Return how many seconds to wait before the next stream is opened. */
    pause(): number;
    #private;
}
import type { Settings } from "./transport.js";
import type { CallOptions } from "./shapes.js";
import type { ExecutionEvent } from "./shapes.js";
import type { ServerEvent } from "./sse.js";
