/**
 * timeoutSeconds: then WaitTimeoutError is thrown, and the execution continues, unless
 * cancelOnTimeout is set. onProgress: is called with the execution at each change; what it throws
 * ends the wait. throwOnFailure: an execution without a result throws ExecutionFailedError; true
 * by default.
 *
 * @typedef {CallOptions & {timeoutSeconds?: number | undefined,
 *   onProgress?: ((execution: Execution) => unknown) | undefined,
 *   throwOnFailure?: boolean, cancelOnTimeout?: boolean}} WaitOptions
 */
/**
 * Return the execution when it has ended.
 *
 * @param {Executions} executions
 * @param {Settings} settings
 * @param {string} id
 * @param {WaitOptions} options
 * @returns {Promise<Execution>}
 */
export function waitForEnd(executions: Executions, settings: Settings, id: string, options: WaitOptions): Promise<Execution>;
/**
 * timeoutSeconds: then WaitTimeoutError is thrown, and the execution continues, unless
 * cancelOnTimeout is set. onProgress: is called with the execution at each change; what it throws
 * ends the wait. throwOnFailure: an execution without a result throws ExecutionFailedError; true
 * by default.
 */
export type WaitOptions = CallOptions & {
    timeoutSeconds?: number | undefined;
    onProgress?: ((execution: Execution) => unknown) | undefined;
    throwOnFailure?: boolean;
    cancelOnTimeout?: boolean;
};
import type { Executions } from "./executions.js";
import type { Settings } from "./transport.js";
import type { Execution } from "./shapes.js";
import type { CallOptions } from "./shapes.js";
