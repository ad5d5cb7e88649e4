/**
 * What a client is opened with. By default, apiKey and baseUrl come from TAKEONE_API_KEY and
 * TAKEONE_BASE_URL. timeoutSeconds: without a byte for so long, a request has failed. retries: how
 * often a call is sent again after a failure, with the same idempotency key.
 *
 * @typedef {object} ClientOptions
 * @property {string | undefined} [apiKey]
 * @property {string | undefined} [baseUrl]
 * @property {number} [timeoutSeconds]
 * @property {number} [retries]
 * @property {typeof globalThis.fetch} [fetch]
 */
/** @typedef {Required<{[name in keyof ClientOptions]: NonNullable<ClientOptions[name]>}>} Settings */
/**
 * Return complete settings, or throw ConfigurationError.
 *
 * @param {ClientOptions} options
 * @returns {Settings}
 */
export function makeSettings(options: ClientOptions): Settings;
/**
 * Wait so many seconds, or throw the reason of the signal.
 *
 * @param {number} seconds
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
export function sleep(seconds: number, signal?: AbortSignal): Promise<void>;
/** Return a monotonic time in seconds. */
export function now(): number;
export const VERSION: "0.1.0";
/**
 * One request and its answer. Without a byte for `seconds`, it has failed. Close it in any case.
 */
export class Exchange {
    /**
     * @param {Settings} settings
     * @param {AbortSignal | undefined} signal
     * @param {number} seconds
     */
    constructor(settings: Settings, signal: AbortSignal | undefined, seconds: number);
    /**
     * Send the request, and return the head of its answer.
     *
     * @param {string} pathAndQuery
     * @param {RequestInit & {headers?: Record<string, string>}} init
     */
    send(pathAndQuery: string, init: RequestInit & {
        headers?: Record<string, string>;
    }): Promise<Response>;
    /**
     * Yield the parts of an answer's body.
     *
     * @param {Response} response
     */
    parts(response: Response): AsyncGenerator<Uint8Array<ArrayBuffer>, void, unknown>;
    /**
     * Return the whole body.
     *
     * @param {Response} response
     * @returns {Promise<Uint8Array<ArrayBuffer>>}
     */
    bytes(response: Response): Promise<Uint8Array<ArrayBuffer>>;
    /** @param {Response} response */
    text(response: Response): Promise<string>;
    close(): void;
    #private;
}
/**
 * What a client is opened with. By default, apiKey and baseUrl come from TAKEONE_API_KEY and
 * TAKEONE_BASE_URL. timeoutSeconds: without a byte for so long, a request has failed. retries: how
 * often a call is sent again after a failure, with the same idempotency key.
 */
export type ClientOptions = {
    apiKey?: string | undefined;
    baseUrl?: string | undefined;
    timeoutSeconds?: number | undefined;
    retries?: number | undefined;
    fetch?: typeof fetch | undefined;
};
export type Settings = Required<{ [name in keyof ClientOptions]: NonNullable<ClientOptions[name]>; }>;
