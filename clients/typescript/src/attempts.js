/** The attempts of one call. All of them have the same idempotency key and body. */

import { CallError, ConnectError, ProblemError, UnusableAnswerError } from "./errors.js";
import { problem } from "./problems.js";
import { Exchange, sleep } from "./transport.js";

/** @import {Settings} from "./transport.js" */

const FIRST_PAUSE_SECONDS = 0.5;
const LONGEST_PAUSE_SECONDS = 8;
const LONGEST_RETRY_AFTER_SECONDS = 60;
/** The first request with the same key may be fetching a file meanwhile. */
const IN_PROGRESS_TRIES = 60;
const AGAIN = new Set([408, 429, 500, 502, 503, 504]);
/** Statuses of a request that had no effect. */
const NOT_PROCESSED = new Set([408, 429]);
/** Problems that last until an operator acts, or until the next day. */
const NOT_SOON = new Set(["provider_not_accepting", "service_budget_exceeded"]);

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
  #call;
  #retries;
  #used = 0;
  #inProgress = 0;
  /** @type {CallError | undefined} */
  #firstFailure;

  /**
   * @param {Call} call
   * @param {number} retries
   */
  constructor(call, retries) {
    this.#call = call;
    this.#retries = retries;
    /** Made once, outside of the attempts. */
    this.key = call.repeat === "keyed" ? (call.idempotencyKey ?? crypto.randomUUID()) : undefined;
  }

  /**
   * Return the seconds until the next attempt, or throw the failure of this one.
   *
   * @param {unknown} failure
   * @returns {number}
   */
  failed(failure) {
    if (!(failure instanceof CallError)) throw failure;
    failure.idempotencyKey = this.key;
    if (failure instanceof ProblemError) {
      if (failure.code === "idempotency_in_progress" && this.#inProgress < IN_PROGRESS_TRIES) {
        this.#inProgress += 1;
        return failure.retryAfter || 1;
      }
      if (failure.code === "idempotency_conflict" && this.#firstFailure) throw this.#firstFailure;
    }
    if (!this.#mayRepeat(failure)) throw failure;
    return this.#pause(failure);
  }

  /** @param {CallError} failure */
  #mayRepeat(failure) {
    if (failure instanceof UnusableAnswerError) return false;
    const never = this.#call.repeat === "never";
    if (!(failure instanceof ProblemError)) return !never || failure instanceof ConnectError;
    if (!AGAIN.has(failure.status) || NOT_SOON.has(failure.code)) return false;
    if ("retryable" in failure.document && !failure.retryable) return false;
    return !never || NOT_PROCESSED.has(failure.status);
  }

  /** @param {CallError} failure */
  #pause(failure) {
    this.#firstFailure ??= failure;
    const wait = failure instanceof ProblemError ? failure.retryAfter : undefined;
    if (this.#used >= this.#retries || (wait ?? 0) > LONGEST_RETRY_AFTER_SECONDS) throw failure;
    const pause = Math.min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** this.#used);
    this.#used += 1;
    return wait || pause * (0.75 + Math.random() / 4);
  }
}

/**
 * Send a call until it succeeds or is refused, and return what `read` makes of its answer.
 *
 * @template T
 * @param {Settings} settings
 * @param {Call} call
 * @param {(response: Response, exchange: Exchange) => Promise<T>} read
 * @returns {Promise<T>}
 */
export async function send(settings, call, read) {
  const attempts = new Attempts(call, settings.retries);
  const body = call.form ?? (call.body === undefined ? null : JSON.stringify(call.body));
  /** @type {Record<string, string>} */
  const headers = { accept: "application/json, application/problem+json" };
  if (body !== null && !call.form) headers["content-type"] = "application/json";
  if (attempts.key !== undefined) headers["idempotency-key"] = attempts.key;
  while (true) {
    const exchange = new Exchange(settings, call.signal, settings.timeoutSeconds);
    let pause;
    try {
      const init = { method: call.method, headers, body };
      const response = await exchange.send(call.path + queryText(call.query), init);
      if (response.ok) return await read(response, exchange);
      throw problem(response, await exchange.text(response), attempts.key);
    } catch (error) {
      pause = attempts.failed(error);
    } finally {
      exchange.close();
    }
    await sleep(pause, call.signal);
  }
}

/**
 * Send a call, and return the JSON of its answer. An order that was accepted before has `replayed`.
 *
 * @param {Settings} settings
 * @param {Call} call
 * @returns {Promise<any>}
 */
export function sendJson(settings, call) {
  return send(settings, call, async (response, exchange) => {
    const text = await exchange.text(response);
    if (response.status === 204 || text === "") return undefined;
    try {
      const document = JSON.parse(text);
      const replayed = response.headers.get("idempotent-replayed") === "true";
      return call.repeat === "keyed" ? { ...document, replayed } : document;
    } catch {
      throw new UnusableAnswerError(
        `${call.method} ${call.path} was answered with status ${response.status} and no JSON`,
        { requestId: response.headers.get("x-request-id") ?? undefined },
      );
    }
  });
}

/**
 * Return the query of a path: without what is undefined or null, lists repeated, times in ISO 8601.
 *
 * @param {Record<string, unknown>} [query]
 */
export function queryText(query = {}) {
  const sent = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each === undefined || each === null) continue;
      sent.append(name, each instanceof Date ? each.toISOString() : String(each));
    }
  }
  return sent.size ? `?${sent}` : "";
}
