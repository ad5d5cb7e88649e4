/**
 * Compose steps into a plan that a client with the settings of the environment executes.
 *
 * @param {...(Step | {outputs: Record<string, File>})} steps
 */
export function compose(...steps: (Step | {
    outputs: Record<string, File>;
})[]): Composition;
/**
 * @import {Call} from "./attempts.js"
 * @import {File} from "./steps.js"
 * @import {KeyedOptions} from "./shapes.js"
 * @import {Step} from "./steps.js"
 * @import {ClientOptions} from "./transport.js"
 */
/** A client of Takeone. Keep its API key on a server: it pays with your account. */
export class Takeone {
    /** @param {ClientOptions} [options] */
    constructor(options?: ClientOptions);
    executions: Executions;
    quotes: Quotes;
    assets: Assets;
    /**
     * Compose steps into a plan that this client executes; the last one makes the result. With
     * `{outputs}` as the last argument, further files are results by names of your own.
     *
     * @param {...(Step | {outputs: Record<string, File>})} steps
     */
    compose(...steps: (Step | {
        outputs: Record<string, File>;
    })[]): Composition;
    /**
     * Call any operation of the API, and return the JSON of its answer. A POST or PATCH is sent once,
     * unless it has an idempotency key.
     *
     * @param {string} method
     * @param {string} path
     * @param {KeyedOptions & {query?: Record<string, unknown>, body?: unknown}} [options]
     * @returns {Promise<any>}
     */
    request(method: string, path: string, options?: KeyedOptions & {
        query?: Record<string, unknown>;
        body?: unknown;
    }): Promise<any>;
    #private;
}
import type { Step } from "./steps.js";
import type { File } from "./steps.js";
import { Composition } from "./composition.js";
import { Executions } from "./executions.js";
import { Quotes } from "./executions.js";
import { Assets } from "./assets.js";
import type { KeyedOptions } from "./shapes.js";
import type { ClientOptions } from "./transport.js";
