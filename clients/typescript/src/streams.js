/** Streams of events: read, and opened again behind the last event when they are lost. */

import { queryText } from "./attempts.js";
import { CallError, ProblemError, UnusableAnswerError } from "./errors.js";
import { jsonObject, problem } from "./problems.js";
import { EventParser } from "./sse.js";
import { Exchange, now, sleep } from "./transport.js";

/**
 * @import {CallOptions, ExecutionEvent} from "./shapes.js"
 * @import {ServerEvent} from "./sse.js"
 * @import {Settings} from "./transport.js"
 */

/** Without a byte for so long, a stream is lost: the service sends a heartbeat every 15 s. */
const LOST_SECONDS = 45;
const FIRST_PAUSE_SECONDS = 0.5;
const LONGEST_PAUSE_SECONDS = 10;
const GROWTH = 1.6;
/** How long the service may be unreachable before its failure is thrown. */
const PATIENCE_SECONDS = 300;

/** How long failures are tolerated. */
export class Patience {
  #reachedAt = now();

  reached() {
    this.#reachedAt = now();
  }

  /**
   * Take a failure. Throw it if waiting cannot help, or has not helped for five minutes.
   *
   * @param {unknown} error
   */
  missed(error) {
    if (!(error instanceof CallError)) throw error;
    const refused = error instanceof ProblemError && error.status < 500 && !error.retryable;
    if (refused || now() - this.#reachedAt > PATIENCE_SECONDS) throw error;
  }
}

/** One stream after another. over: the service has nothing more to send. */
export class Following {
  #settings;
  #path;
  #signal;
  #pause = FIRST_PAUSE_SECONDS;
  #parser;

  /**
   * @param {Settings} settings
   * @param {string} executionId
   * @param {CallOptions & {after?: number | undefined}} options
   */
  constructor(settings, executionId, { after, signal }) {
    this.#settings = settings;
    this.#path = `/api/executions/${encodeURIComponent(executionId)}/events`;
    this.#signal = signal;
    this.#parser = new EventParser(after === undefined ? undefined : String(after));
    this.over = false;
  }

  /**
   * Yield the events of each part of one stream; none for a heartbeat. End with the stream. Throw
   * CallError if it is refused or lost.
   *
   * @returns {AsyncGenerator<ServerEvent[], void>}
   */
  async *parts() {
    const exchange = new Exchange(this.#settings, this.#signal, LOST_SECONDS);
    // `after` has the meaning of Last-Event-ID; a browser sends it to another origin without
    // the consent of that origin.
    const place = this.#path + queryText({ after: this.#parser.lastId });
    this.#parser = new EventParser(this.#parser.lastId);
    try {
      const response = await exchange.send(place, { headers: { accept: "text/event-stream" } });
      if (!response.ok) throw problem(response, await exchange.text(response));
      this.over = response.status === 204;
      if (this.over) return;
      if (!response.headers.get("content-type")?.startsWith("text/event-stream")) {
        throw new UnusableAnswerError(`${this.#path} was not answered with a stream of events`);
      }
      for await (const part of exchange.parts(response)) {
        this.#pause = FIRST_PAUSE_SECONDS;
        yield this.#parser.feed(part);
      }
    } finally {
      exchange.close();
    }
  }

  /** Return how many seconds to wait before the next stream is opened. */
  pause() {
    const pause = Math.max(this.#pause, this.#parser.retrySeconds ?? 0);
    this.#pause = Math.min(LONGEST_PAUSE_SECONDS, this.#pause * GROWTH);
    return pause;
  }
}

/**
 * Yield the changes of an execution until it ends, `end` being the last one.
 *
 * @param {Settings} settings
 * @param {string} executionId
 * @param {CallOptions & {after?: number | undefined}} options
 * @returns {AsyncGenerator<ExecutionEvent, void>}
 */
export async function* follow(settings, executionId, options) {
  const following = new Following(settings, executionId, options);
  const patience = new Patience();
  let latest = "";
  while (true) {
    try {
      for await (const events of following.parts()) {
        patience.reached();
        for (const event of events) {
          latest = event.type;
          yield executionEvent(event);
        }
      }
    } catch (error) {
      patience.missed(error);
    }
    if (following.over || latest === "end") return;
    await sleep(following.pause(), options.signal);
  }
}

/**
 * @param {ServerEvent} event
 * @returns {ExecutionEvent}
 */
export function executionEvent({ type, data, id }) {
  const sequence = id && /^\d{1,15}$/.test(id) ? Number(id) : null;
  return /** @type {any} */ ({ type, sequence, data: jsonObject(data) });
}
