/** The wait for the end of an execution: by its stream of events, else by looking at it. */

import {
  ConnectError,
  ExecutionFailedError,
  ProblemError,
  RequestTimeoutError,
  UnusableAnswerError,
  WaitTimeoutError,
} from "./errors.js";
import { Following, Patience, executionEvent } from "./streams.js";
import { now, sleep } from "./transport.js";

/**
 * @import {CallOptions, Execution, ExecutionEvent} from "./shapes.js"
 * @import {Executions} from "./executions.js"
 * @import {Settings} from "./transport.js"
 */

const FIRST_LOOK_SECONDS = 0.5;
const LONGEST_LOOK_SECONDS = 10;
const GROWTH = 1.3;
/** After so many streams in a row that brought nothing, the wait looks instead. */
const FAILED_STREAMS = 2;
const NEXT_STREAM_SECONDS = 60;
/** Closer to the time-out than this, the wait looks: a lost stream is noticed late. */
const STREAM_LEFT_SECONDS = 60;
const ENDED = new Set(["completed", "failed", "cancelled"]);

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
export async function waitForEnd(executions, settings, id, options) {
  let execution;
  try {
    execution = await new Wait(executions, settings, id, options).run();
  } catch (error) {
    if (error instanceof WaitTimeoutError && options.cancelOnTimeout) await executions.cancel(id);
    throw error;
  }
  if (options.throwOnFailure !== false && execution.status !== "completed") {
    throw new ExecutionFailedError(execution);
  }
  return execution;
}

class Wait {
  #executions;
  #id;
  #options;
  #following;
  #patience = new Patience();
  #end;
  #streamAt = now();
  #failedStreams = 0;
  #pause = FIRST_LOOK_SECONDS;
  #leastPause = 0;
  #known = "";

  /**
   * @param {Executions} executions
   * @param {Settings} settings
   * @param {string} id
   * @param {WaitOptions} options
   */
  constructor(executions, settings, id, options) {
    this.#executions = executions;
    this.#id = id;
    this.#options = options;
    this.#following = new Following(settings, id, { signal: options.signal });
    this.#end = now() + (options.timeoutSeconds ?? Infinity);
  }

  async run() {
    while (true) {
      for await (const execution of this.#streams() ? this.#streamed() : this.#looked()) {
        this.#patience.reached();
        await this.#report(execution);
        if (ENDED.has(execution.status)) return execution;
      }
      await this.#rest();
    }
  }

  #streams() {
    return now() >= this.#streamAt && this.#end - now() > STREAM_LEFT_SECONDS;
  }

  /** @param {Execution} execution */
  async #report(execution) {
    const { generation, status, progress, currentJob, waitingFor } = execution;
    const steps = waitingFor?.map((each) => each.step);
    const state = JSON.stringify([generation, status, progress, currentJob, steps]);
    if (state !== this.#known) await this.#options.onProgress?.(execution);
    this.#known = state;
  }

  /**
   * Follow one stream. Only some events have the whole execution, so read it at the others, and at
   * heartbeats, if every change is reported.
   */
  async *#streamed() {
    let failure;
    let empty = true;
    const parts = this.#following.parts();
    try {
      while (true) {
        const next = await parts.next().catch((error) => (failure = error));
        if (failure || next.done) break;
        empty = false;
        this.#brought();
        const whole = next.value.map(executionEvent).findLast(isWhole);
        if (whole) yield this.#executions.open(whole.data);
        else if (this.#options.onProgress) yield* this.#looked();
        if (!this.#streams()) return;
      }
    } finally {
      await parts.return();
    }
    this.#streamEnded(failure, empty);
  }

  async *#looked() {
    try {
      yield await this.#executions.get(this.#id, { signal: this.#options.signal });
    } catch (error) {
      this.#patience.missed(error);
    }
  }

  #brought() {
    this.#patience.reached();
    this.#failedStreams = 0;
    this.#pause = FIRST_LOOK_SECONDS;
  }

  /**
   * Note the end of a stream. A stream that is refused is no reason to end the wait.
   *
   * @param {unknown} error
   * @param {boolean} empty
   */
  #streamEnded(error, empty) {
    this.#leastPause = this.#following.pause();
    if (this.#options.signal?.aborted) throw this.#options.signal.reason;
    if (error instanceof ConnectError) {
      this.#patience.missed(error);
    } else if (this.#following.over) {
      this.#streamAt = Infinity;
    } else if (empty || error instanceof UnusableAnswerError) {
      this.#failedStreams += 1;
      this.#streamAt = now() + this.#untilNextStream(error);
    }
  }

  /** @param {unknown} error */
  #untilNextStream(error) {
    if (error instanceof RequestTimeoutError) return Infinity; // A proxy keeps streams back.
    const refused = error instanceof ProblemError && error.status < 500;
    const unusable = error instanceof UnusableAnswerError;
    if (!refused && !unusable && this.#failedStreams < FAILED_STREAMS) return 0;
    const longer = error instanceof ProblemError ? error.retryAfter : undefined;
    return Math.max(NEXT_STREAM_SECONDS, longer ?? 0);
  }

  async #rest() {
    const left = this.#end - now();
    if (left <= 0) throw new WaitTimeoutError(this.#id, this.#options.timeoutSeconds ?? 0);
    const pause = Math.min(left, Math.max(this.#pause, this.#leastPause));
    this.#pause = Math.min(LONGEST_LOOK_SECONDS, this.#pause * GROWTH);
    this.#leastPause = 0;
    await sleep(pause, this.#options.signal);
  }
}

/**
 * @param {ExecutionEvent} event
 * @returns {event is ExecutionEvent & {type: "snapshot" | "end"}}
 */
function isWhole({ type }) {
  return type === "snapshot" || type === "end";
}
