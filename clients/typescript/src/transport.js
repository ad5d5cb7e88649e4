/** The transport over fetch: one exchange, with a time-out and errors of this package. */

import {
  ConfigurationError,
  ConnectError,
  ConnectionLostError,
  RequestTimeoutError,
} from "./errors.js";

export const VERSION = "0.1.0";

const NOT_CONNECTED = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);

/** @type {any} */
const node = /** @type {any} */ (globalThis).process;
// A browser has its own User-Agent, and a further header would need the consent of the service.
/** @type {Record<string, string>} */
const USER_AGENT = node?.versions?.node ? { "user-agent": `takeone-typescript/${VERSION}` } : {};

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
export function makeSettings(options) {
  const apiKey = options.apiKey ?? node?.env?.TAKEONE_API_KEY;
  const baseUrl = options.baseUrl ?? node?.env?.TAKEONE_BASE_URL;
  if (!apiKey) {
    throw new ConfigurationError("There is no API key. Pass apiKey, or set TAKEONE_API_KEY.");
  }
  if (!/^https?:\/\//.test(baseUrl ?? "")) {
    throw new ConfigurationError(
      "There is no address of the service. Pass baseUrl, or set TAKEONE_BASE_URL, for example to " +
        "http://127.0.0.1:8080, where `make up` serves it.",
    );
  }
  return {
    apiKey,
    baseUrl: baseUrl.replace(/\/+$/, ""),
    timeoutSeconds: options.timeoutSeconds ?? 60,
    retries: options.retries ?? 2,
    fetch: options.fetch ?? globalThis.fetch.bind(globalThis),
  };
}

/**
 * One request and its answer. Without a byte for `seconds`, it has failed. Close it in any case.
 */
export class Exchange {
  #settings;
  #signal;
  #seconds;
  #ended = new AbortController();
  #late = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {Settings} settings
   * @param {AbortSignal | undefined} signal
   * @param {number} seconds
   */
  constructor(settings, signal, seconds) {
    this.#settings = settings;
    this.#signal = signal;
    this.#seconds = seconds;
  }

  /**
   * Send the request, and return the head of its answer.
   *
   * @param {string} pathAndQuery
   * @param {RequestInit & {headers?: Record<string, string>}} init
   */
  async send(pathAndQuery, init) {
    this.#signal?.throwIfAborted();
    this.#await();
    const signals = [this.#ended.signal, ...(this.#signal ? [this.#signal] : [])];
    try {
      return await this.#settings.fetch(`${this.#settings.baseUrl}${pathAndQuery}`, {
        ...init,
        signal: AbortSignal.any(signals),
        headers: {
          authorization: `Bearer ${this.#settings.apiKey}`,
          ...USER_AGENT,
          ...init.headers,
        },
      });
    } catch (error) {
      throw this.#failure(error);
    }
  }

  /**
   * Yield the parts of an answer's body.
   *
   * @param {Response} response
   */
  async *parts(response) {
    if (response.body === null) return;
    const reader = response.body.getReader();
    try {
      while (true) {
        this.#await();
        const { done, value } = await reader.read().catch((error) => {
          throw this.#failure(error);
        });
        if (done) return;
        yield value;
      }
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  /**
   * Return the whole body.
   *
   * @param {Response} response
   * @returns {Promise<Uint8Array<ArrayBuffer>>}
   */
  async bytes(response) {
    const parts = [];
    for await (const part of this.parts(response)) parts.push(part);
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  }

  /** @param {Response} response */
  async text(response) {
    return new TextDecoder().decode(await this.bytes(response));
  }

  close() {
    clearTimeout(this.#timer);
    this.#ended.abort();
  }

  #await() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#late = true;
      this.#ended.abort();
    }, this.#seconds * 1000);
  }

  /** @param {any} error */
  #failure(error) {
    if (this.#signal?.aborted) return this.#signal.reason;
    const details = { cause: error };
    if (this.#late) {
      return new RequestTimeoutError(`No answer within ${this.#seconds} s`, details);
    }
    const reason = error?.cause?.message || error?.message || "unknown reason";
    return NOT_CONNECTED.has(error?.cause?.code)
      ? new ConnectError(`No connection to the service: ${reason}`, details)
      : new ConnectionLostError(`The connection ended before the answer: ${reason}`, details);
  }
}

/**
 * Wait so many seconds, or throw the reason of the signal.
 *
 * @param {number} seconds
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
export function sleep(seconds, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const end = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", end);
      resolve();
    }, seconds * 1000);
    signal?.addEventListener("abort", end, { once: true });
  });
}

/** Return a monotonic time in seconds. */
export function now() {
  return performance.now() / 1000;
}
